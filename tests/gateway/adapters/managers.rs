//! Each manager's adapter, called as the manager does.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{Site, all, delivered, example, in_place, on};
use crate::keeping::{errors, out};
use crate::needs_kafka;
use crate::rig::Gateway;

#[test]
fn thin_edge_s_steps_fail_where_it_does_not_deliver_and_its_rollback_brings_the_one_before() {
    needs_kafka!();
    let site = Site::open();
    let gateway = &site.gateway;
    let plugin = |arguments: &[&str]| {
        let mut command = on(gateway, example("thin-edge"));
        command.args(arguments).output().unwrap()
    };
    let work = gateway.path("work");
    let work = work.to_str().unwrap();
    let kind = "gateway.toml";
    assert_eq!(out(&plugin(&["list"])), "gateway.toml\n");
    assert_eq!(out(&plugin(&["get", kind])), in_place(gateway));
    assert_eq!(plugin(&["get", "another"]).status.code(), Some(2));
    // As the agent's workflow `config_update` has it.
    let update = |text: &str| {
        let path = delivered(gateway, text);
        let path = path.to_str().unwrap();
        fs::create_dir(work).unwrap();
        let mut told = plugin(&["prepare", kind, path, "--work-dir", work]);
        let mut rolled_back = None;
        if told.status.success() {
            told = plugin(&["set", kind, path, "--work-dir", work]);
            if told.status.success() {
                told = plugin(&["verify", kind, "--work-dir", work]);
            }
            if !told.status.success() {
                rolled_back = Some(plugin(&["rollback", kind, "--work-dir", work]));
            }
        }
        fs::remove_dir_all(work).unwrap();
        (told, rolled_back)
    };
    let good = site.good();
    let (told, rolled_back) = update(&good);
    assert!(
        told.status.success() && rolled_back.is_none(),
        "{}",
        all(&told)
    );
    assert_eq!(in_place(gateway), good);

    let (told, rolled_back) = update(&site.with_a_mistake());
    assert_eq!(told.status.code(), Some(1), "{}", all(&told));
    assert!(errors(&told).contains("did you mean `site`?") && rolled_back.is_none());

    let (told, rolled_back) = update(&site.lost());
    assert_eq!(told.status.code(), Some(3), "{}", all(&told));
    assert!(errors(&told).contains("returned: source `plant`"));
    let rolled_back = rolled_back.unwrap();
    assert!(rolled_back.status.success(), "{}", all(&rolled_back));
    assert_eq!(in_place(gateway), good);
}

#[test]
fn mender_s_script_takes_the_text_from_its_json_and_does_nothing_where_there_is_none() {
    needs_kafka!();
    let site = Site::open();
    let apply = |gateway: &Gateway, config: &str| {
        let path = gateway.path("device-config.json");
        fs::write(&path, config).unwrap();
        on(gateway, example("mender")).arg(path).output().unwrap()
    };
    let before = in_place(&site.gateway);
    for (config, code) in [("{\"timezone\": \"UTC\"}", 0), ("{\"tidegate_config\"", 2)] {
        let told = apply(&site.gateway, config);
        assert_eq!(told.status.code(), Some(code), "{}", all(&told));
        assert_eq!(in_place(&site.gateway), before);
    }
    site.tells_apart(|gateway, text| {
        let config = json!({ "timezone": "UTC", "tidegate_config": text });
        apply(gateway, &config.to_string())
    });
}

#[test]
fn the_job_of_aws_iot_takes_a_path_or_the_text() {
    needs_kafka!();
    let site = Site::open();
    let document = fs::read_to_string(example("aws-iot-job.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let action = &document["steps"][0]["action"];
    let input = &action["input"];
    assert_eq!(input["args"].as_array().unwrap().len(), 1);
    // As the client starts a handler: with the user, then the arguments.
    let job = |gateway: &Gateway, user: &str, argument: &str| {
        let mut handler = on(gateway, example("aws-iot-job"));
        handler.args([user, argument]).output().unwrap()
    };
    let refused = job(&site.gateway, "nobody", &site.good());
    assert_eq!(refused.status.code(), Some(2), "{}", all(&refused));
    site.tells_apart(|gateway, text| job(gateway, "", text));
    let another = in_place(&site.gateway).replace("plant7", "plant8");
    let another = delivered(&site.gateway, &another);
    let told = job(&site.gateway, "", another.to_str().unwrap());
    assert_eq!(told.status.code(), Some(3), "its broker is not there yet");
}

#[test]
fn a_pull_leaves_the_verdict_beside_the_file_on_the_host_and_changes_nothing_without_one() {
    needs_kafka!();
    let site = Site::open();
    let host = site.gateway.path("host");
    fs::create_dir(&host).unwrap();
    let file = host.join("gw-1.toml");
    let pull = |gateway: &Gateway| {
        let mut command = on(gateway, example("pull"));
        command.env("COPY", "cp").arg(&file).output().unwrap()
    };
    let before = in_place(&site.gateway);
    assert!(!pull(&site.gateway).status.success(), "the host has none");
    assert_eq!(in_place(&site.gateway), before);
    // cron sends no mail of it: what was said is with the host.
    site.tells_apart(|gateway, text| {
        fs::write(&file, text).unwrap();
        let mut told = pull(gateway);
        assert!(told.stdout.is_empty() && told.stderr.is_empty());
        let verdict = fs::read(host.join("gw-1.toml.verdict")).unwrap();
        let code = format!("exit code {}\n", told.status.code().unwrap());
        assert!(verdict.ends_with(code.as_bytes()));
        (told.stdout, told.stderr) = (verdict.clone(), verdict);
        told
    });
}

#[test]
fn the_hook_of_flight_control_waits_for_the_verdict_on_what_its_agent_has_written() {
    needs_kafka!();
    let site = Site::open();
    let hook = fs::read_to_string(example("flightctl.yaml")).unwrap();
    assert!(hook.contains("- path: /etc/tidegate/gateway.toml\n"));
    let mut lines = hook.lines();
    let run = lines.find_map(|line| line.strip_prefix("  run: ")).unwrap();
    let place = site.gateway.path("gateway.toml");
    let run = run
        .replace(
            "/usr/local/bin/tidegate-put",
            example("put").to_str().unwrap(),
        )
        .replace("/etc/tidegate/gateway.toml", place.to_str().unwrap());
    let update = |text: &str| {
        fs::write(&place, text).unwrap();
        on(&site.gateway, "bash")
            .args(["-c", &run])
            .output()
            .unwrap()
    };
    let good = site.good();
    let cases = [
        (good.clone(), 0, "kept"),
        (site.with_a_mistake(), 1, "rejected"),
        // It rolls the update back, which is no part of the hook.
        (good.clone(), 0, "kept"),
        (site.lost(), 3, "returned"),
        (good, 0, "kept"),
    ];
    for (text, code, state) in cases {
        let told = update(&text);
        assert_eq!(told.status.code(), Some(code), "{}", all(&told));
        assert!(all(&told).contains(state), "{}", all(&told));
        assert_eq!(in_place(&site.gateway), text);
    }
}

#[test]
fn the_playbook_fails_where_it_cannot_be_used_or_does_not_deliver() {
    needs_kafka!();
    if Command::new("ansible-playbook")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: needs ansible-playbook");
        return;
    }
    let site = Site::open();
    let gateway = &site.gateway;
    let place = gateway.path("gateway.toml");
    let play = |text: &str| {
        fs::copy(example("ansible.yml"), gateway.path("ansible.yml")).unwrap();
        fs::write(gateway.path("gw-1.toml"), text).unwrap();
        let mut inventory = String::from("[gateways]\n");
        writeln!(
            inventory,
            "gw-1 ansible_connection=local ansible_become=false ansible_python_interpreter=/usr/bin/python3"
        )
        .unwrap();
        fs::write(gateway.path("inventory"), inventory).unwrap();
        let mut ansible = on(gateway, "ansible-playbook");
        ansible.arg("-i").arg(gateway.path("inventory"));
        ansible
            .arg("-e")
            .arg(format!("gateway_toml={}", place.display()));
        ansible.arg(gateway.path("ansible.yml"));
        ansible.env("HOME", gateway.directory.path());
        ansible.output().unwrap()
    };
    let good = site.good();
    for changed in ["changed=1", "changed=0"] {
        let told = play(&good);
        assert!(told.status.success(), "{}", all(&told));
        assert!(out(&told).contains(changed), "{}", all(&told));
        assert_eq!(in_place(gateway), good);
    }
    let told = play(&site.with_a_mistake());
    assert!(
        !told.status.success() && all(&told).contains("did you mean"),
        "{}",
        all(&told)
    );
    assert_eq!(in_place(gateway), good);
    let told = play(&site.lost());
    assert!(
        !told.status.success() && all(&told).contains("\"rc\": 3"),
        "{}",
        all(&told)
    );
    assert!(
        all(&told).contains("returned: source `plant`"),
        "{}",
        all(&told)
    );
}
