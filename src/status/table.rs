//! The snapshot for people.

use std::fmt::Write;

use adapters::{age, size};

use super::{
    ClockStatus, ConfigStatus, FlashStatus, LaneStatus, LinkStatus, PartStatus, Snapshot,
    SourceStatus,
};

/// Lines that fit a terminal of 100 columns.
#[must_use]
pub(crate) fn table(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if draw(snapshot, &mut text).is_err() {
        text.push_str("(cut short)\n");
    }
    text
}

fn draw(snapshot: &Snapshot, text: &mut String) -> std::fmt::Result {
    writeln!(
        text,
        "gateway {}  version {}  epoch {}  up {}",
        snapshot.gateway,
        snapshot.version,
        snapshot.epoch,
        age(snapshot.uptime_s)
    )?;
    link(&snapshot.link, text)?;
    clock(&snapshot.clock, text)?;
    config(&snapshot.config, text)?;
    if let Some(error) = &snapshot.disk_error {
        writeln!(text, "DISK {error}")?;
    }
    let mut parts = snapshot.parts.iter().filter(|part| part.part != "disk");
    parts.try_for_each(|one| part(one, text))?;
    flash(&snapshot.flash, text)?;
    writeln!(
        text,
        "\n{:<12}{:>11}{:>11}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>8}",
        "lane",
        "accepted",
        "delivered",
        "buffered",
        "dropped",
        "refused",
        "in/s",
        "out/s",
        "disk",
        "oldest"
    )?;
    for lane in &snapshot.lanes {
        row(lane, text)?;
    }
    snapshot
        .lanes
        .iter()
        .try_for_each(|lane| waits(lane, text))?;
    sources(&snapshot.sources, text)
}

/// A clock that is right and vouched for is not worth a line.
fn clock(clock: &ClockStatus, text: &mut String) -> std::fmt::Result {
    let off = clock.system_clock_off_s;
    let by = clock.by.as_deref().unwrap_or("no witness vouches for it");
    if off != 0.0 {
        let believed = "events keep the time from before it was set";
        writeln!(
            text,
            "CLOCK the system's is off by {off:.1} s; {believed} ({by})"
        )
    } else if clock.trust == "wrong" {
        writeln!(
            text,
            "CLOCK wrong; events are marked, and corrected once it is right; set it"
        )
    } else if clock.trust == "unverified" {
        writeln!(text, "clock unverified: {by}")
    } else {
        Ok(())
    }
}

/// One that delivered is not worth a line.
fn config(config: &ConfigStatus, text: &mut String) -> std::fmt::Result {
    let why = config.why.as_deref().unwrap_or_default();
    match config.state.as_str() {
        "rejected" => writeln!(text, "CONFIGURATION rejected, another one runs: {why}"),
        "returned" => writeln!(
            text,
            "CONFIGURATION gone back from, the one before runs: {why}"
        ),
        "unproven" => writeln!(text, "configuration unproven: {why}"),
        "proving" => writeln!(text, "configuration proving: {}", config.open.join(", ")),
        "received" if !why.is_empty() => writeln!(text, "configuration received: {why}"),
        _ => Ok(()),
    }?;
    match &config.pull_error {
        Some(error) => writeln!(text, "configuration cannot be pulled: {error}"),
        None => Ok(()),
    }
}

fn sources(sources: &[SourceStatus], text: &mut String) -> std::fmt::Result {
    writeln!(
        text,
        "\n{:<24}{:>6}{:>12}{:>9}{:>8}  last error",
        "source", "state", "received", "refused", "errors"
    )?;
    for source in sources {
        let state = match (source.connected, &source.paused) {
            (false, _) => "DOWN",
            (true, Some(_)) => "paused",
            (true, None) => "up",
        };
        writeln!(
            text,
            "{:<24}{:>6}{:>12}{:>9}{:>8}  {}",
            source.name, state, source.received, source.refused, source.errors, source.last_error
        )?;
    }
    for source in sources {
        if let Some(why) = &source.paused {
            writeln!(text, "{} is paused: {why}", source.name)?;
        }
        for slave in source.slaves.iter().filter(|slave| !slave.answers) {
            writeln!(
                text,
                "{}: slave {} does not answer",
                source.name, slave.slave
            )?;
        }
    }
    Ok(())
}

/// The disk has a line of its own.
fn part(part: &PartStatus, text: &mut String) -> std::fmt::Result {
    let lasts = age(part.down_s.unwrap_or(0.0));
    writeln!(text, "{} DOWN for {lasts}: {}", part.part, part.reason)
}

fn link(link: &LinkStatus, text: &mut String) -> std::fmt::Result {
    let state = if link.up { "up" } else { "DOWN" };
    writeln!(
        text,
        "link {state} for {}  {}",
        age(link.since_s),
        link.brokers
    )?;
    if let Some(quota) = link.quota {
        writeln!(
            text,
            "a quota of the cluster allows {:.0} KiB/s",
            quota / 1024.0
        )?;
    }
    for budget in &link.budgets {
        let share = budget.used * 100 / budget.bytes.max(1);
        let (used, bytes) = (size(budget.used), size(budget.bytes));
        writeln!(
            text,
            "{used} of {bytes} of this {} are used ({share} %)",
            budget.per
        )?;
    }
    if let Some(other) = &link.other_cluster {
        writeln!(
            text,
            "ANOTHER CLUSTER than before: {other}; what was delivered before is only in that one"
        )?;
    }
    for (topic, reason) in &link.blocked {
        writeln!(text, "  topic {topic} is not taken: {reason}")?;
    }
    if link.blocked_more > 0 {
        writeln!(text, "  and {} topics more", link.blocked_more)?;
    }
    Ok(())
}

fn flash(flash: &FlashStatus, text: &mut String) -> std::fmt::Result {
    let (written, today) = (size(flash.written_bytes), size(flash.today_bytes));
    write!(text, "flash {written} written, {today} today")?;
    if let Some(amplification) = flash.write_amplification {
        write!(text, ", {amplification:.2} x what was kept")?;
    }
    if let Some(life) = &flash.life {
        write!(text, ", {} % of its life used", life.used_percent)?;
    }
    writeln!(text)
}

fn row(lane: &LaneStatus, text: &mut String) -> std::fmt::Result {
    let dropped: u64 = lane.dropped.iter().map(|(_, count)| count).sum();
    writeln!(
        text,
        "{:<12}{:>11}{:>11}{:>10}{:>9}{:>9}{:>9.0}{:>9.0}{:>9}{:>8}",
        lane.name,
        lane.accepted,
        lane.delivered,
        lane.buffered,
        dropped,
        lane.refused,
        lane.accepted_per_s,
        lane.delivered_per_s,
        size(lane.disk_bytes),
        age(lane.oldest_s),
    )
}

fn waits(lane: &LaneStatus, text: &mut String) -> std::fmt::Result {
    let Some(why) = &lane.waits else {
        return Ok(());
    };
    write!(text, "{} waits: {why}", lane.name)?;
    match lane.drained_in_s {
        Some(seconds) => writeln!(text, "; drained in {}", age(seconds)),
        None => writeln!(text),
    }
}
