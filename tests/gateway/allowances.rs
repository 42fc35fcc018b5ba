//! Links that cost by the byte, and those that may be used at night only.

use jiff::Timestamp;

use crate::limits::fill;
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, Rig, wait_for};

/// Alarms come by `plant/{device}/alarm/{kind}`, in an intent with a source of its own.
fn rig_with(link: &str) -> Rig {
    let (mqtt, kafka) = (Mosquitto::start(""), Kafka::shared());
    let alarms = format!(
        "[[mqtt]]\nname = \"alarms\"\nhost = \"127.0.0.1\"\nport = {}\n[[mqtt.subscribe]]\n\
         topic = \"plant/{{device}}/alarm/{{kind}}\"\nintent = \"critical\"\n",
        mqtt.port
    );
    let config = Rig::config(&mqtt, &kafka) + &alarms + &kafka.topics(&[]) + link;
    let mut gateway = Gateway::new(&config).start();
    gateway.wait_until_connected("plant");
    gateway.wait_until_connected("alarms");
    Rig {
        gateway,
        mqtt,
        kafka,
    }
}

fn wait_until_it_waits(rig: &mut Rig, why: &str) {
    wait_for(why, || {
        let waits = rig.gateway.lane("state")["waits"].as_str()?.to_owned();
        waits.contains(why).then_some(())
    });
}

#[test]
fn a_budget_that_is_used_up_holds_back_bulk_but_no_alarm_and_a_kill_does_not_renew_it() {
    needs_kafka!();
    let month = 512 * 1024;
    let link = "[[link.budget]]\nper = \"month\"\nbytes = \"512 KiB\"\nreserve = 0.25\n";
    let mut rig = rig_with(link);
    fill(rig.mqtt.port, 0..2_000, 1_000);
    wait_until_it_waits(&mut rig, "used up");
    let used = |rig: &mut Rig| rig.gateway.status()["link"]["budgets"][0]["used"].as_u64();
    let before = used(&mut rig).unwrap();
    assert!(
        (month * 7 / 10..month * 9 / 10).contains(&before),
        "{before} of {month} are used, and a quarter is for alarms"
    );
    rig.publish("plant/{d}/alarm/high", 10_000..10_010, 0);
    assert_eq!(rig.account("critical", 10_000..10_010).lost, 0);
    let log = rig.gateway.log();
    assert!(log.contains("a budget of the link is used up"), "{log}");
    assert!(log.contains("the link is metered"), "{log}");

    rig.gateway.kill_9();
    rig.gateway.launch();
    wait_until_it_waits(&mut rig, "used up");
    assert!(
        used(&mut rig).unwrap() >= before,
        "it is known after a kill"
    );
    rig.gateway.stop();
    rig.gateway.change("512 KiB", "64 MiB");
    rig.gateway.launch();
    rig.gateway.wait_until_drained();
    let account = rig.account("state", 0..2_000);
    assert_eq!((account.lost, account.out_of_order), (0, 0), "{account:?}");
    wait_for("all to be counted", || {
        (used(&mut rig)? > 2 * before).then_some(())
    });
}

#[test]
fn outside_of_its_window_bulk_waits_on_disk_and_an_alarm_does_not() {
    needs_kafka!();
    let hour = Timestamp::now().as_second() / 3600 % 24;
    let closed = format!("* {} * * *", (hour + 12) % 24);
    let mut rig = rig_with(&format!(
        "[link]\ntime_zone = \"UTC0\"\n[[link.window]]\nopen = \"{closed}\"\n"
    ));
    rig.publish("plant/{d}/state/temp", 0..1_000, 0);
    rig.publish("plant/{d}/alarm/high", 10_000..10_010, 0);
    assert_eq!(rig.account("critical", 10_000..10_010).lost, 0);
    wait_until_it_waits(&mut rig, "its window opens in 1");
    let lane = wait_for("all to be on disk", || {
        let lane = rig.gateway.lane("state");
        (lane["accepted"] == 1_000 && lane["disk_bytes"].as_u64()? > 0).then_some(lane)
    });
    assert_eq!(lane["delivered"], 0);

    rig.gateway.stop();
    rig.gateway.change(&closed, "* * * * *");
    rig.gateway.launch();
    assert_eq!(rig.account("state", 0..1_000).lost, 0);
}
