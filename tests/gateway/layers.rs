//! What a fleet says of all its gateways is in one file, and what a site says of its own in layers beside it.

use std::fs;

use crate::keeping::{VISION, keep};
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, tidegate, wait_for};
use crate::rollout::{SOON, wait_for_state};

/// Puts a layer into its place as a fleet does, by a rename; an empty one is taken away.
fn put(gateway: &Gateway, name: &str, text: &str) {
    let directory = gateway.path("gateway.toml.d");
    fs::create_dir_all(&directory).unwrap();
    if text.is_empty() {
        return fs::remove_file(directory.join(name)).unwrap();
    }
    let text = text.replace("$DIR", gateway.path("").to_str().unwrap());
    fs::write(directory.join(".new"), text).unwrap();
    fs::rename(directory.join(".new"), directory.join(name)).unwrap();
}

fn wait_for_sources(gateway: &mut Gateway, names: &[&str]) {
    wait_for("the sources", || {
        let status = gateway.status();
        let sources = status["sources"].as_array()?;
        let found: Vec<&str> = sources
            .iter()
            .filter_map(|one| one["name"].as_str())
            .collect();
        (found == names).then_some(())
    });
}

#[test]
fn a_sites_layers_add_to_the_fleets_file_and_a_bad_one_leaves_all_as_it_was_also_at_a_start() {
    needs_kafka!();
    let kafka = Kafka::shared();
    let fleet = format!("{VISION}{SOON}{}", kafka.topics(&[]));
    let mut gateway = Gateway::new(&fleet);
    let uplink = format!(
        "[uplink]\nbrokers = [\"{}\"]\n[gateway]\nsite = \"hall-7\"\n",
        kafka.plain()
    );
    put(&gateway, "10-site.toml", &uplink);
    gateway = gateway.start();
    wait_for_state(&mut gateway, "kept");
    keep(&gateway, 0..10);

    // Another source is added, and the fleet's is not wanted here.
    let other = "[[inference]]\nname = \"vision\"\nenabled = false\n[[inference]]\nname = \"other\"\nsocket = \"$DIR/other.sock\"\n";
    put(&gateway, "50-own.toml", other);
    wait_for_sources(&mut gateway, &["other"]);
    let kept = wait_for_state(&mut gateway, "kept");
    assert_ne!(kept["attempted_layers"], "");
    let shown = tidegate()
        .args(["config", "show", "--origin"])
        .arg(gateway.path("gateway.toml"))
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for line in [
        "gateway.site = \"hall-7\"  # gateway.toml.d/10-site.toml:4\n",
        "inference[1].name = \"other\"  # gateway.toml.d/50-own.toml:5\n",
    ] {
        assert!(shown.contains(line), "{line}{shown}");
    }
    assert!(!shown.contains("vision"), "{shown}");

    put(
        &gateway,
        "60-bad.toml",
        "\n[gateway]\nstop_grace = \"soon\"\n",
    );
    let rejected = wait_for_state(&mut gateway, "rejected");
    let why = rejected["why"].as_str().unwrap();
    assert!(
        why.starts_with("60-bad.toml: line 3: gateway.stop_grace: `soon`"),
        "{why}"
    );
    gateway.kill_9();
    gateway.launch();
    wait_for_sources(&mut gateway, &["other"]);
    assert_eq!(
        wait_for_state(&mut gateway, "rejected")["effective"],
        kept["effective"]
    );
    put(&gateway, "60-bad.toml", "");
    wait_for_state(&mut gateway, "kept");
    gateway.assert_account_closes();
}
