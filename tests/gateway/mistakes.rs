//! Mistakes in a configuration: each is named with its key, its value and what would be right.

use crate::configuration::{MQTT, UPLINK, check};

const BUS: &str = "[[modbus]]\nname = \"bus\"\nline = { port = \"/dev/ttyS1\" }\n[[modbus.slave]]\naddress = 1\ndevice = \"d\"\n\
                   [[modbus.slave.group]]\nname = \"g\"\n[[modbus.slave.group.field]]\nname = \"x\"\naddress = 0\n";

pub(crate) fn with(more: &str) -> String {
    format!("{UPLINK}{MQTT}{more}")
}

pub(crate) fn bus(from: &str, to: &str) -> String {
    assert!(BUS.contains(from));
    format!("{UPLINK}{}", BUS.replace(from, to))
}

/// A file, and what `check` says of it.
fn mistakes_of_the_whole() -> Vec<(String, &'static str)> {
    vec![
        ("uplink = 5\n[".into(), "line 2: syntax:"),
        (MQTT.into(), "uplink: missing; it has no default"),
        (format!("[uplink]\n{MQTT}"), "uplink.brokers: missing"),
        (
            format!("[uplink]\nbrokers = []\n{MQTT}"),
            "line 2: uplink.brokers: `[]` is empty",
        ),
        (
            format!("[uplink]\nbrokers = [\"kafka\"]\n{MQTT}"),
            "uplink.brokers[0]: `kafka` is not \"host:port\"",
        ),
        (
            format!("[uplink]\nbrokers = \"kafka:9092\"\n{MQTT}"),
            "line 2: uplink.brokers: `kafka:9092` is a text where a list is needed; use [\"kafka:9092\"]",
        ),
        (
            with("[gatway]\nid = \"x\"\n"),
            "gatway: unknown key; did you mean `gateway`?",
        ),
        (
            with("[gateway]\nsiet = \"x\"\n"),
            "line 8: gateway.siet: unknown key; did you mean `site`?",
        ),
        (
            with("[gateway]\nid = \"a\"\n[gateway]\nsite = \"b\"\n"),
            "line 9: syntax: duplicate key `gateway`; keep one of them",
        ),
        (with("[gateway]\nid = \" \"\n"), "gateway.id: `` is empty"),
        (
            with("[gateway]\nstate_dir = \"state\"\n"),
            "gateway.state_dir: `state` is relative; use an absolute path",
        ),
        (
            with("[gateway]\nstop_grace = \"soon\"\n"),
            "gateway.stop_grace: `soon` is not a duration",
        ),
        (
            with("[gateway]\nfree_floor = \"5 MBytes\"\n"),
            "gateway.free_floor: `5 MBytes` is not a size",
        ),
        (
            with("[status]\nlisten = \"0.0.0.0:9464\"\n"),
            "status.listen: `0.0.0.0:9464` is reachable from outside",
        ),
        (
            with("[status]\nhttp = \"yes\"\n"),
            "status.http: `yes` is not true or false; use one of them, without quotes",
        ),
        (
            with("[log]\nlevel = \"loud\"\n"),
            "log.level: `loud` is not a level",
        ),
        (
            with("[log]\nformat = \"xml\"\n"),
            "log.format: unknown value `xml`; use one of ",
        ),
    ]
}

/// A file, and what `check` says of it.
fn mistakes_of_uplink_and_link() -> Vec<(String, &'static str)> {
    vec![
        (
            with("[uplink.kafka]\nacks = \"1\"\n"),
            "uplink.kafka.acks: cannot be set: an event is delivered when",
        ),
        (
            with("[uplink.kafka]\n\"message.timeout.ms\" = \"5\"\n"),
            "cannot be set: no time-out may drop an event",
        ),
        (
            with("[uplink.kafka]\n\"sasl.password\" = \"x\"\n"),
            "uplink.kafka.sasl.password: cannot be set here",
        ),
        (
            with(
                "[uplink.sasl]\nmechanism = \"GSSAPI\"\nusername = \"u\"\npassword = { file = \"/p\" }\n",
            ),
            "uplink.sasl.mechanism: unknown value `GSSAPI`",
        ),
        (
            with("[uplink.sasl]\nmechanism = \"PLAIN\"\nusername = \"u\"\npassword = \"p\"\n"),
            "uplink.sasl.password: is no place of a secret, which is never written here; use { file =",
        ),
        (
            with("[uplink.tls]\ncert_file = \"/c\"\n"),
            "uplink.tls: mutual TLS needs both",
        ),
        (
            with(MQTT),
            "mqtt[1].name: `plant` is the name of another source",
        ),
        (
            with("[replay]\ncatch_up = -1\n"),
            "replay.catch_up: `-1` is no share; use one like 0.4",
        ),
        (
            with("[link]\ntime_zone = \"Europe/Nowhere\"\n"),
            "link.time_zone: `Europe/Nowhere` is no time zone",
        ),
        (
            with("[[link.budget]]\nper = \"week\"\nbytes = \"1 GiB\"\n"),
            "link.budget[0].per: unknown value `week`",
        ),
        (
            with(
                "[[link.budget]]\nper = \"day\"\nbytes = \"1 GiB\"\nshares = { critical = 0.5 }\n",
            ),
            "link.budget[0].shares.critical: `critical` is urgent, and never held back",
        ),
        (
            with("[[link.window]]\nopen = \"* 25 * * *\"\n"),
            "line 8: link.window[0].open: `25` is no hour; use 0 to 23",
        ),
    ]
}

/// A file, and what `check` says of it.
fn mistakes_of_links_and_sources() -> Vec<(String, &'static str)> {
    vec![
        (
            with("[[link.window]]\nintents = [\"bulk\"]\nopen = \"* 1 * * *\"\n"),
            "link.window[0].intents[0]: no intent is named `bulk`",
        ),
        (
            with("[[intent]]\nname = \"state\"\nsurvive_outage = \"24h\"\n"),
            "intent[0].survive_outage: needs `expected = {",
        ),
        (
            with(
                "[[intent]]\nname = \"state\"\nsurvive_outage = \"24h\"\nexpected = { events_per_s = 10, bytes = \"200\" }\n",
            ),
            "line 9: intent[0].survive_outage: `1d` does not fit into a budget of 256 MiB, which is full after",
        ),
        (
            with("qos = 3\n"),
            "mqtt[0].subscribe[0].qos: `3` is not a QoS; use 0, 1 or 2",
        ),
        (
            with("intent = \"alarms\"\n"),
            "mqtt[0].subscribe[0].intent: no intent is named `alarms`; there are critical, state",
        ),
        (
            format!("{UPLINK}[[mqtt]]\nname = \"p\"\n[[mqtt.subscribe]]\ntopic = \"a/b#\"\n"),
            "line 6: mqtt[0].subscribe[0].topic: in `a/b#` the `#` must",
        ),
        (
            format!("{UPLINK}[[mqtt]]\nname = \"p q\"\n[[mqtt.subscribe]]\ntopic = \"a\"\n"),
            "mqtt[0].name: `p q` is not a name",
        ),
        (
            format!(
                "{UPLINK}[[mqtt]]\nname = \"p\"\nversion = \"4\"\n[[mqtt.subscribe]]\ntopic = \"a\"\n"
            ),
            "mqtt[0].version: unknown value `4`",
        ),
        (
            format!(
                "{UPLINK}[[mqtt]]\nname = \"p\"\nport = 99999\n[[mqtt.subscribe]]\ntopic = \"a\"\n"
            ),
            "line 5: mqtt[0].port: `99999` is no port; use 1 to 65535",
        ),
        (
            with("[[route]]\nintent = \"nothing\"\n"),
            "line 8: route[0].intent: no intent is named `nothing`",
        ),
        (
            with("[[intent]]\nname = \"state\"\ntopic = \"{site}.state\"\n"),
            "line 9: intent[0].topic: `{site}` cannot be filled in: gateway.site is not set",
        ),
    ]
}

/// A file, and what `check` says of it.
fn mistakes_of_intents() -> Vec<(String, &'static str)> {
    vec![
        (
            with("[[intent]]\nname = \"state\"\ntopic = \"{line}\"\n"),
            "`{line}` cannot be filled in: no subscription, source or gateway tag",
        ),
        (
            with("[[intent]]\nname = \"state\"\ntopic = \"{device\"\n"),
            "intent[0].topic: `{device` has a `{` without its `}`",
        ),
        (
            with("[[intent]]\nname = \"state\"\nbudget = \"1 KiB\"\n"),
            "intent[0].budget: `1 KiB` is too small",
        ),
        (
            with("[[intent]]\nname = \"state\"\nwhen_full = \"block\"\n"),
            "intent[0].when_full: unknown value `block`",
        ),
        (
            with("[[intent]]\nname = \"state\"\n[[intent]]\nname = \"state\"\n"),
            "intent[1].name: `state` stands twice",
        ),
        (
            bus("address = 0\n", "address = 0\ndeadband = -1.0\n"),
            "field[0].deadband: a deadband is 0 or more",
        ),
        (
            bus("address = 0\n", "address = 0\nnames = { off = \"0\" }\n"),
            "field[0].names: `off` is not a whole number",
        ),
        (
            bus("address = 0\n", "address = 0\nflags = { 16 = \"x\" }\n"),
            "field[0].flags: `16` is not a bit of the field; use 0 to 15",
        ),
        (
            bus(
                "address = 0\n",
                "address = 0\ntype = \"f32\"\nrate_per = \"1s\"\n",
            ),
            "field[0].rate_per: goes with one",
        ),
        (
            bus("address = 0\n", "address = 0\ncount = 200\n"),
            "field[0].count: the field takes 200 registers",
        ),
        (
            bus("name = \"g\"\n", "name = \"g\"\nheartbeat = \"1m\"\n"),
            "group[0].heartbeat: goes with report",
        ),
        (
            bus("name = \"g\"\n", "name = \"g\"\nblocks = [[1, 5]]\n"),
            "field[0].address: the field lies in none of the group",
        ),
    ]
}

/// A file, and what `check` says of it.
fn mistakes_of_properties() -> Vec<(String, &'static str)> {
    let named = |more| {
        format!(
            "{UPLINK}{}",
            MQTT.replace("[[mqtt]]\n", &format!("[[mqtt]]\n{more}"))
        )
    };
    vec![
        (
            with(
                "[[intent]]\nname = \"state\"\nkey = \"{site}\"\ntombstones = true\n[gateway]\nsite = \"x\"\n",
            ),
            "intent[0].tombstones: needs a key of its own",
        ),
        (
            with("[[intent]]\nname = \"critical\"\nexpired = \"drop\"\n"),
            "intent[0].expired: `drop` would lose events of an urgent intent",
        ),
        (
            named("version = \"3.1.1\"\nheaders = [\"trace-id\"]\n"),
            "mqtt[0].headers: MQTT 3.1.1 has no user properties",
        ),
        (
            named("headers = [\"ce_id\"]\n"),
            "mqtt[0].headers[0]: `ce_id` would stand for a header of Tidegate's own",
        ),
    ]
}

/// A file, and what `check` says of it.
fn mistakes_of_buses() -> Vec<(String, &'static str)> {
    vec![
        (
            bus("name = \"g\"\n", "name = \"g\"\nblocks = [[0, 126]]\n"),
            "group[0].blocks: [0, 126] cannot be read at once",
        ),
        (
            bus("device = \"d\"\n", "device = \"d\"\nmax_registers = 126\n"),
            "slave[0].max_registers: `126` is out of range; use 1 to 125",
        ),
        (
            bus("/dev/ttyS1\" }", "/dev/ttyS1\", data_bits = 7 }"),
            "line.data_bits: must be 8, or 7 with framing",
        ),
        (
            bus("port = \"/dev/ttyS1\"", "baud = 9600"),
            "modbus[0].line: names no line",
        ),
        (
            bus("address = 1\n", "address = 250\n"),
            "modbus[0].slave[0].address: `250` is not a slave address",
        ),
        (
            bus("name = \"g\"", "name = \"g\"\nfunction = 6"),
            "group[0].function: `6` does not read; use 1, 2, 3 or 4",
        ),
        (
            bus("name = \"g\"", "name = \"g\"\ninterval = \"10ms\""),
            "modbus[0].slave[0].group[0].interval: the groups of `bus` take 156 % of the time of /dev/ttyS1 at 19200 baud",
        ),
        (
            bus(
                "port = \"/dev/ttyS1\"",
                "port = \"/dev/ttyS1\", framing = \"tcp\"",
            ),
            "modbus[0].line.framing: a serial port carries no Modbus TCP",
        ),
        (
            bus("name = \"x\"", "name = \"x\"\ntype = \"string\""),
            "field[0].length: missing; a string needs",
        ),
        (
            format!("{UPLINK}[[inference]]\nname = \"v\"\n"),
            "inference[0].socket: missing; set `socket` or `tail`",
        ),
        (
            format!("{UPLINK}[[inference]]\nname = \"v\"\nsocket = \"/s\"\nmode = \"rw\"\n"),
            "inference[0].mode: `rw` is not a mode",
        ),
    ]
}

#[test]
fn each_mistake_is_named_with_its_key_its_value_and_what_would_be_right() {
    let cases = [
        mistakes_of_the_whole(),
        mistakes_of_uplink_and_link(),
        mistakes_of_links_and_sources(),
        mistakes_of_intents(),
        mistakes_of_properties(),
        mistakes_of_buses(),
    ]
    .concat();
    assert!(cases.len() >= 30);
    for (text, expected) in cases {
        let (code, said) = check(&text);
        assert_eq!(code, Some(1), "{text}\n{said}");
        assert!(
            said.contains(expected),
            "expected: {expected}\nsaid: {said}\nfor:\n{text}"
        );
    }
}
