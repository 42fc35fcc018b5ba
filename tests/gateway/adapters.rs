//! What fleet managers run on a gateway (`examples/fleet`), as they run it: the configuration goes in, and its verdict comes back.

mod managers;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::keeping::{AWAY, VISION, errors, out};
use crate::needs_kafka;
use crate::peers::{Kafka, Mosquitto};
use crate::rig::{Gateway, Rig, binary, free_port, project, tidegate, wait_for};
use crate::rollout::SOON;

fn example(name: &str) -> PathBuf {
    project().join("examples/fleet").join(name)
}

/// A program as on a gateway on which `put` and this build are installed.
fn on(gateway: &Gateway, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let bin = gateway.path("bin");
    if !bin.exists() {
        fs::create_dir(&bin).unwrap();
        symlink(binary(), bin.join("tidegate")).unwrap();
        symlink(example("put"), bin.join("tidegate-put")).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(program);
    command
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("GATEWAY_TOML", gateway.path("gateway.toml"));
    command
}

fn put(gateway: &Gateway) -> Command {
    on(gateway, example("put"))
}

fn in_place(gateway: &Gateway) -> String {
    fs::read_to_string(gateway.path("gateway.toml")).unwrap()
}

/// A file of this text that the fleet manager has left on the gateway.
fn delivered(gateway: &Gateway, text: &str) -> PathBuf {
    let path = gateway.path("delivered.toml");
    fs::write(&path, text).unwrap();
    path
}

fn all(output: &Output) -> String {
    out(output) + &errors(output)
}

/// A gateway whose first configuration is kept, and texts to push.
struct Site {
    gateway: Gateway,
    port: String,
    _mqtt: Mosquitto,
}

impl Site {
    fn open() -> Site {
        let kafka = Kafka::shared();
        let mqtt = Mosquitto::start("");
        let port = format!("port = {}\n", mqtt.port);
        let config = Rig::config(&mqtt, &kafka) + &kafka.topics(&[]) + SOON;
        let mut gateway = Gateway::new(&config);
        // What a site adds beside the fleet's file belongs to whatever is put in that file's place.
        let layers = gateway.path("gateway.toml.d");
        fs::create_dir(&layers).unwrap();
        fs::write(
            layers.join("10-site.toml"),
            "[gateway]\nregion = \"north\"\n",
        )
        .unwrap();
        gateway = gateway.start();
        gateway.wait_until_connected("plant");
        wait_for("the first to be kept", || {
            let kept = gateway.try_status()?["config"]["state"] == "kept";
            kept.then_some(())
        });
        Site {
            gateway,
            port,
            _mqtt: mqtt,
        }
    }

    /// The uplink has to deliver once more with it.
    fn good(&self) -> String {
        in_place(&self.gateway).replace("[uplink]\n", "[uplink]\nin_flight = \"1 MiB\"\n")
    }

    fn with_a_mistake(&self) -> String {
        in_place(&self.gateway).replace("site =", "siet =")
    }

    /// The broker, which was well, is not where it says.
    fn lost(&self) -> String {
        in_place(&self.gateway).replace(&self.port, &format!("port = {}\n", free_port()))
    }

    /// Pushes one text after another, and checks what the manager reports and what is in place after each.
    fn tells_apart(&self, push: impl Fn(&Gateway, &str) -> Output) {
        let good = self.good();
        let told = push(&self.gateway, &good);
        assert_eq!(told.status.code(), Some(0), "{}", all(&told));
        assert!(out(&told).contains("kept"), "{}", all(&told));
        assert!(in_place(&self.gateway).trim_end() == good.trim_end());

        let told = push(&self.gateway, &self.with_a_mistake());
        assert_eq!(told.status.code(), Some(1), "{}", all(&told));
        assert!(errors(&told).contains("did you mean `site`?"));
        assert!(in_place(&self.gateway).trim_end() == good.trim_end());

        let lost = self.lost();
        for _ in 0..2 {
            let told = push(&self.gateway, &lost);
            assert_eq!(told.status.code(), Some(3), "{}", all(&told));
            assert!(errors(&told).contains("returned: source `plant`"));
            assert!(in_place(&self.gateway).trim_end() == lost.trim_end());
        }
    }
}

#[test]
fn put_keeps_owner_and_mode_and_ends_with_the_verdict() {
    needs_kafka!();
    let site = Site::open();
    let place = site.gateway.path("gateway.toml");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o604)).unwrap();
    // Only root may.
    chown(&place, None, Some(1)).ok();
    let owner = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
    };
    let before = owner(&place);
    let told = put(&site.gateway).arg("/dev/null").output().unwrap();
    assert_eq!(told.status.code(), Some(2), "{}", all(&told));
    // What a power cut has left of an earlier one.
    fs::write(site.gateway.path("gateway.toml.new"), "[gate").unwrap();
    site.tells_apart(|gateway, text| {
        let path = delivered(gateway, text);
        put(gateway).arg(path).output().unwrap()
    });
    assert_eq!(owner(&place), before);
    assert!(!site.gateway.path("gateway.toml.new").exists());
}

#[test]
fn put_has_the_file_on_disk_before_it_is_in_place_and_no_failure_leaves_half_of_it() {
    let gateway = Gateway::new(&format!("{AWAY}{VISION}{SOON}")).start();
    let old = in_place(&gateway);
    let new = old.replace("plant7", "plant8");
    let path = delivered(&gateway, &new);
    let beside = gateway.path("gateway.toml.new");
    let strace = |inject: &str| {
        let mut command = on(&gateway, "strace");
        command.args(["-f", "-qq", "-o"]).arg(gateway.path("calls"));
        command.arg("-P").arg(&beside);
        if !inject.is_empty() {
            command.args(["-e", &format!("inject={inject}")]);
        }
        command.arg(example("put")).arg(&path).output().unwrap()
    };
    for inject in [
        "write,copy_file_range:error=ENOSPC",
        "fsync:error=EIO",
        "rename,renameat,renameat2:signal=KILL",
    ] {
        let told = strace(inject);
        assert_eq!(told.status.code(), Some(2), "{inject}: {}", all(&told));
        assert!(errors(&told).contains("stays as it is"), "{}", all(&told));
        assert!(in_place(&gateway) == old && !beside.exists(), "{inject}");
    }
    let told = strace("");
    // An outage speaks neither for it nor against it.
    assert_eq!(told.status.code(), Some(4), "{}", all(&told));
    assert!(errors(&told).contains("unproven"), "{}", all(&told));
    assert_eq!(in_place(&gateway), new);
    let calls = fs::read_to_string(gateway.path("calls")).unwrap();
    let at = |call: &str| calls.rfind(call);
    assert!(at("write(").max(at("copy_file_range(")) < at("fsync("));
    assert!(at("fsync(") < at("rename"), "{calls}");
}

#[test]
fn files_that_are_put_at_the_same_time_are_whole_and_each_is_answered_for_itself() {
    let gateway = Gateway::new(&format!("{AWAY}{VISION}{SOON}")).start();
    let old = in_place(&gateway);
    let texts: Vec<String> = (0..6)
        .map(|number| old.replace("plant7", &format!("plant-{number}")))
        .collect();
    let mut children: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| {
            let path = gateway.path(&format!("delivered-{number}.toml"));
            fs::write(&path, text).unwrap();
            put(&gateway).arg(&path).env("WAIT", "15s").spawn().unwrap()
        })
        .collect();
    wait_for("all of them", || {
        let now = in_place(&gateway);
        assert!(now == old || texts.contains(&now), "{now}");
        let ended = |child: &mut std::process::Child| child.try_wait().unwrap().is_some();
        children.iter_mut().all(ended).then_some(())
    });
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(4), "no cluster is there");
    }
}

#[test]
fn who_waits_for_a_text_that_the_agent_has_not_looked_at_is_told_so() {
    needs_kafka!();
    let site = Site::open();
    let other = delivered(&site.gateway, &site.good());
    let asked = |more: &[&str]| {
        let mut command = tidegate();
        command.args(["config", "status", "-c"]).arg(&other);
        command.args(more).output().unwrap()
    };
    let told = asked(&["--wait", "1s"]);
    assert_eq!(told.status.code(), Some(4), "{}", all(&told));
    assert!(errors(&told).contains("was not looked at"));
    assert_eq!(asked(&[]).status.code(), Some(0), "of the one before");
}
