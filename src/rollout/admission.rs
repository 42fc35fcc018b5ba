//! Why a configuration without a mistake is not even tried: it is older than one that delivered, or it may not be whole. Pure.

use std::collections::BTreeSet;

use super::record::Record;
use crate::config::Loaded;

/// Of so few sources, one that removes most is no accident worth a question.
const GUARDED_FROM: usize = 2;

/// Why `new` is not tried, in words for whoever pushed it; `proved` is the one that delivered last.
pub(super) fn refusal(record: &Record, new: &Loaded, proved: Option<&Loaded>) -> Option<String> {
    if record.is_proved(new.version()) {
        return None;
    }
    if let Some(why) = is_older(record, new) {
        return Some(why);
    }
    if record.is_forced(new.version()) || new.trust.is_any() {
        return None;
    }
    if record
        .proved
        .as_ref()
        .is_some_and(|proved| proved.trust().is_any())
    {
        return Some("it has neither a seal nor a signature, and the one that delivered last has: its end may be missing; `tidegate config seal FILE` seals it, `tidegate config retry --force` has it tried as it is".into());
    }
    proved.and_then(|proved| removes_most(new, proved))
}

/// Without a serial it counts as the oldest.
fn is_older(record: &Record, new: &Loaded) -> Option<String> {
    let fleet = &new.file.fleet;
    let highest = record.serial?;
    let serial = fleet.serial.unwrap_or(0);
    if serial >= highest {
        return None;
    }
    let is_on_purpose = fleet.replaces.is_some_and(|number| number >= highest);
    if is_on_purpose && new.trust.signer.is_some() {
        return None;
    }
    let has = fleet
        .serial
        .map_or("it has no `fleet.serial`".to_owned(), |serial| {
            format!("its `fleet.serial` is {serial}")
        });
    let back = if is_on_purpose {
        "; `fleet.replaces` counts only in a file that is signed, where `allowed_signers` asks for that"
    } else {
        ""
    };
    Some(format!(
        "{has}, and one with {highest} delivered here: it is an old one; give it {highest} or more, or sign it with `replaces = {highest}` to go back on purpose{back}"
    ))
}

/// A file that was cut between two tables has no other mistake.
fn removes_most(new: &Loaded, proved: &Loaded) -> Option<String> {
    let names = |one: &Loaded| -> BTreeSet<String> {
        let sources = one.settings.sources.iter();
        sources.map(|source| source.name().to_owned()).collect()
    };
    let (before, after) = (names(proved), names(new));
    let removed = before.difference(&after).count();
    if new.file.fleet.may_remove_sources
        || before.len() < GUARDED_FROM
        || removed * 2 <= before.len()
    {
        return None;
    }
    let all = before.len();
    Some(format!(
        "it removes {removed} of {all} sources, and nothing vouches that it is whole; seal or sign it, say `may_remove_sources = true` in its [fleet], or have it tried as it is with `tidegate config retry --force`"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Texts, Trust, load_texts};

    fn loaded(fleet: &str, sources: &[&str], trust: Trust) -> Loaded {
        let sources: String = sources
            .iter()
            .map(|name| format!("[[inference]]\nname = \"{name}\"\nsocket = \"/s/{name}\"\n"))
            .collect();
        let text = format!("[uplink]\nbrokers = [\"a:1\"]\n[fleet]\n{fleet}\n{sources}");
        load_texts(Texts::of(&text), Path::new("/nowhere"), trust).unwrap()
    }

    fn plain(fleet: &str, sources: &[&str]) -> Loaded {
        loaded(fleet, sources, Trust::default())
    }

    fn signed(fleet: &str) -> Loaded {
        let signer = Some("ops@a".to_owned());
        loaded(
            fleet,
            &["v"],
            Trust {
                signer,
                sealed: false,
            },
        )
    }

    fn sealed(fleet: &str, sources: &[&str]) -> Loaded {
        let signer = None;
        loaded(
            fleet,
            sources,
            Trust {
                signer,
                sealed: true,
            },
        )
    }

    /// What is remembered after each of these delivered, one after the other.
    fn after(all: &[&Loaded]) -> Record {
        let mut record = Record::default();
        for one in all {
            record.tries(one.version());
            record.proves(one.version(), BTreeSet::new(), "1");
        }
        record
    }

    #[test]
    fn a_serial_never_falls_unless_a_signed_file_says_what_it_replaces() {
        let (seven, nine) = (signed("serial = 7"), signed("serial = 9"));
        let record = after(&[&seven, &nine]);
        for fleet in [
            "serial = 9\nprove_within = \"9m\"",
            "serial = 10",
            "serial = 3\nreplaces = 9",
            "replaces = 12\nserial = 1",
        ] {
            assert_eq!(refusal(&record, &signed(fleet), None), None, "{fleet}");
        }
        for (new, said) in [
            (signed("serial = 7"), "is 7, and one with 9"),
            (signed("serial = 8\nreplaces = 8"), "is 8, and one with 9"),
            (signed(""), "no `fleet.serial`, and one with 9"),
            (
                plain("serial = 8\nreplaces = 9", &["v"]),
                "counts only in a file that is signed",
            ),
        ] {
            let why = refusal(&record, &new, None).unwrap();
            assert!(why.contains(said), "{why}");
        }
        // What was gone back to on purpose does not lower what is asked of the next.
        let back = signed("serial = 3\nreplaces = 9");
        let record = after(&[&nine, &back]);
        assert_eq!(refusal(&record, &back, None), None);
        assert!(refusal(&record, &signed("serial = 8"), None).is_some());
    }

    #[test]
    fn after_one_that_is_sealed_or_signed_none_is_tried_for_which_nothing_vouches_unless_it_is_forced()
     {
        for proved in [sealed("", &["v"]), signed("")] {
            let mut record = after(&[&proved]);
            let new = plain("prove_within = \"9m\"", &["v"]);
            let why = refusal(&record, &new, Some(&proved)).unwrap();
            assert!(why.contains("neither a seal nor a signature"), "{why}");
            let vouched = sealed("prove_within = \"9m\"", &["v"]);
            assert_eq!(refusal(&record, &vouched, Some(&proved)), None);
            record.forces(&new.version().sha256);
            assert_eq!(refusal(&record, &new, Some(&proved)), None);
            record.proves(new.version(), BTreeSet::new(), "1");
            let next = plain("prove_within = \"8m\"", &["v"]);
            assert_eq!(
                refusal(&record, &next, Some(&new)),
                None,
                "nobody seals here any more"
            );
        }
        let proved = plain("", &["v"]);
        let new = plain("prove_within = \"9m\"", &["v"]);
        assert_eq!(refusal(&after(&[&proved]), &new, Some(&proved)), None);
    }

    #[test]
    fn one_that_removes_over_half_of_the_sources_is_not_tried_unless_it_is_whole_or_means_it() {
        let four = ["a", "b", "c", "d"];
        for (before, now, is_refused) in [
            (&four[..], &four[..2], false),
            (&four[..], &four[..1], true),
            (&four[..], &[][..], true),
            (&four[..2], &four[..1], false),
            (&four[..2], &["x", "y"], true),
            (&four[..1], &[], false),
            (&four[..3], &four[..1], true),
            (&[], &four[..1], false),
        ] {
            let (proved, new) = (plain("", before), plain("prove_within = \"9m\"", now));
            let mut record = after(&[&proved]);
            let why = refusal(&record, &new, Some(&proved));
            assert_eq!(why.is_some(), is_refused, "{before:?} {now:?} {why:?}");
            let meant = plain("may_remove_sources = true", now);
            assert_eq!(refusal(&record, &meant, Some(&proved)), None);
            assert_eq!(refusal(&record, &sealed("", now), Some(&proved)), None);
            record.forces(&new.version().sha256);
            assert_eq!(refusal(&record, &new, Some(&proved)), None);
        }
    }

    #[test]
    fn what_delivered_last_is_taken_again_whatever_is_asked_of_others() {
        let proved = sealed("serial = 4", &["a", "b"]);
        let mut record = after(&[&proved]);
        record.serial = Some(9);
        let same = loaded("serial = 4", &["a", "b"], Trust::default());
        assert_eq!(refusal(&record, &same, Some(&proved)), None);
    }
}
