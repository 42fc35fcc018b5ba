use super::super::super::place::TakenOut;
use super::super::super::problem::Weight;
use super::*;

/// What is said of a configuration: the keys of errors, and of warnings.
fn said(text: &str) -> (Vec<String>, Vec<String>) {
    let text = format!("[uplink]\nbrokers = [\"localhost:9092\"]\n{text}");
    let file: File = toml::from_str(&text).unwrap();
    let taken = TakenOut::default();
    let mut found = Problems {
        all: Vec::new(),
        taken: &taken,
    };
    check(&file, &Intents::new(&file), &mut found);
    let keys = |weight: Weight| {
        let of = found.all.iter().filter(move |one| one.weight == weight);
        of.map(|one| one.key.clone()).collect()
    };
    (keys(Weight::Error), keys(Weight::Warning))
}

/// One source with these filters, each with its intent.
fn source(filters: &[(&str, &str)]) -> String {
    let each = filters.iter().map(|(topic, intent)| {
        format!("[[mqtt.subscribe]]\ntopic = \"{topic}\"\nintent = \"{intent}\"\n")
    });
    format!("[[mqtt]]\nname = \"m\"\n{}", each.collect::<String>())
}

const GOOD: (&[&str], &[&str]) = (&[], &[]);
const ERROR: (&[&str], &[&str]) = (&["mqtt[0].subscribe[0].intent"], &[]);
const WARNING: (&[&str], &[&str]) = (&[], &["mqtt[0].subscribe[0].intent"]);

#[test]
fn each_filter_that_takes_changes_into_an_intent_that_coalesces_is_told_of() {
    for (filter, expected) in [
        ("spBv1.0/+/NDATA/+", ERROR),
        ("spBv1.0/{group}/NDATA/{device}", ERROR),
        ("spBv1.0/plant7/DDATA/edge-1/press-3", ERROR),
        ("spBv1.0/+/DDATA/#", ERROR),
        ("spBv1.0/#", ERROR),
        ("spBv1.0/{group}/#", ERROR),
        ("spBv1.0/+/+/+", ERROR),
        ("+/+/NDATA/#", ERROR),
        ("$share/gateways/spBv1.0/#", ERROR),
        ("#", WARNING),
        ("spBv1.0/+/NBIRTH/+", GOOD),
        ("spBv1.0/+/DBIRTH/#", GOOD),
        ("spBv1.0/STATE/+", GOOD),
        ("spAv1.0/#", GOOD),
        ("plant/+/NDATA", GOOD),
        ("{line}/{device}/{kind}", GOOD),
        ("{site}/{area}/{line}/{device}", GOOD),
        ("+/#", GOOD),
        ("$aws/things/+/shadow/update/delta", WARNING),
        ("$aws/things/{device}/shadow/update/accepted", WARNING),
        ("$aws/things/{device}/shadow/#", WARNING),
        (
            "$aws/things/{device}/shadow/name/{shadow}/update/delta",
            WARNING,
        ),
        ("$aws/things/{device}/shadow/update/documents", GOOD),
        ("zigbee2mqtt/#", WARNING),
        ("zigbee2mqtt/bridge/#", WARNING),
        ("zigbee2mqtt/bridge/state", GOOD),
        ("zigbee2mqtt/{device}", GOOD),
        ("{device}/events/rpc", WARNING),
        ("shelly/{device}/events/rpc", WARNING),
        ("{device}/status/+", GOOD),
        ("shellies/#", WARNING),
        ("shellies/{device}/relay/#", GOOD),
        ("stat/{device}/{kind}", WARNING),
        ("tele/{device}/SENSOR", GOOD),
    ] {
        let (errors, warnings) = said(&source(&[(filter, "state")]));
        let keys = (&errors[..], &warnings[..]);
        assert!(
            keys.0 == expected.0 && keys.1 == expected.1,
            "{filter}: {keys:?}"
        );
        let in_order = said(&source(&[(filter, "feature")]));
        assert_eq!(in_order, (vec![], vec![]), "{filter}");
    }
}

const ALL: (&str, &str) = ("spBv1.0/{group}/#", "state");
const OWN: &str = "mqtt[0].subscribe[0].intent";

fn route(what: &str, intent: &str) -> String {
    format!("[[route]]\n{what}\nintent = \"{intent}\"\n")
}

fn coalesces(name: &str, more: &str) -> String {
    format!("[[intent]]\nname = \"{name}\"\ncoalesce = \"latest\"\n{more}\n")
}

fn assert_errors(cases: &[(String, &[&str])]) {
    for (text, errors) in cases {
        let (found, warnings) = said(text);
        assert!(
            found == *errors && warnings.is_empty(),
            "{found:?}, {warnings:?}: {text}"
        );
    }
}

#[test]
fn the_first_subscription_that_matches_says_where_a_message_goes() {
    let data = ("spBv1.0/+/NDATA/+", "feature");
    let units = ("spBv1.0/+/DDATA/#", "feature");
    let one_node = ("spBv1.0/g/NDATA/n", "feature");
    let nothing_said = source(&[("spBv1.0/#", "x")]).replace("intent = \"x\"\n", "");
    assert_errors(&[
        (source(&[data, units, ALL]), &[]),
        (source(&[data, ALL]), &["mqtt[0].subscribe[1].intent"]),
        (source(&[ALL, data, units]), &[OWN]),
        (
            source(&[one_node, units, ALL]),
            &["mqtt[0].subscribe[2].intent"],
        ),
        // Without an intent it is for diagnostics.
        (nothing_said.clone(), &[]),
        (
            nothing_said + &coalesces("diagnostic", ""),
            &["mqtt[0].subscribe[0].topic"],
        ),
    ]);
}

#[test]
fn a_route_says_where_a_message_goes_and_an_intent_what_becomes_of_it() {
    let whole = source(&[("spBv1.0/#", "feature")]);
    let node = source(&[("spBv1.0/{group}/NDATA/{device}", "feature")]);
    let state = |what: &str| route(what, "state");
    assert_errors(&[
        (
            source(&[ALL]) + &route("subject = \"spBv1.0/+/+/#\"", "diagnostic"),
            &[],
        ),
        (source(&[ALL]) + &route("source = \"m\"", "feature"), &[]),
        (
            source(&[ALL]) + &route("source = \"other\"", "feature"),
            &[OWN],
        ),
        // Some of them.
        (
            whole.clone() + &state("subject = \"spBv1.0/g/DDATA/#\""),
            &["route[0].intent"],
        ),
        (
            node + &state("device = \"edge-1\"\ntags = { group = \"g\" }"),
            &["route[0].intent"],
        ),
        (whole + &state("subject = \"spBv1.0/g/NBIRTH/#\""), &[]),
        (
            source(&[ALL]) + "[[intent]]\nname = \"state\"\nwhen_full = \"drop_oldest\"\n",
            &[],
        ),
    ]);
}

#[test]
fn a_history_keeps_what_is_coalesced_and_an_order_matters_to_a_sequence_alone() {
    let state =
        |history: &str| format!("[[intent]]\nname = \"state\"\ncoalesce = \"latest\"\n{history}\n");
    let shelly = source(&[("{device}/events/rpc", "state")]);
    let (_, warned) = said(&(shelly.clone() + &state("")));
    assert_eq!(warned, WARNING.1);
    let (_, warned) = said(&(shelly.clone() + &state("history = \"diagnostic\"")));
    assert!(warned.is_empty(), "{warned:?}");
    let data = source(&[("spBv1.0/+/NDATA/+", "state")]) + &state("history = \"diagnostic\"");
    let (errors, warned) = said(&data);
    assert!(
        errors.is_empty() && warned == WARNING.1,
        "all of it is kept"
    );
    let alarms = [("spBv1.0/+/NDATA/+", 1), ("{device}/events/rpc", 0)];
    for (filter, count) in alarms {
        let (errors, warned) = said(&source(&[(filter, "critical")]));
        assert_eq!((errors.len(), warned.len()), (0, count), "{filter}");
    }
}
