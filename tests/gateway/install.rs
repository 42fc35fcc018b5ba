//! What is installed from the tarball is what the package installs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::rig::project;

/// A tarball's content, with stand-ins for what is built.
fn unpacked() -> TempDir {
    let (built, tarball) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for name in ["tidegate", "tidegate.1.gz", "tidegate.bash"] {
        fs::write(built.path().join(name), name).unwrap();
    }
    let gathered = Command::new(project().join("cross/gather"))
        .arg(built.path().join("tidegate"))
        .arg(built.path())
        .arg(tarball.path())
        .status();
    assert!(gathered.unwrap().success());
    tarball
}

fn install(from: &Path, arguments: &[&str]) -> String {
    // Root's umask may be strict: the agent's user has to read its configuration all the same.
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 077; exec \"$@\"", "sh"]);
    let done = shell.arg(from.join("install.sh")).args(arguments).output();
    let done = done.unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

fn mode(path: &Path) -> String {
    let mode = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    format!("{:o}", mode.permissions().mode() & 0o7777)
}

/// Path and mode of each file of the package.
fn package() -> Vec<(String, String)> {
    let manifest = fs::read_to_string(project().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"]
        .as_array()
        .unwrap();
    let mut files = vec![(
        "usr/lib/systemd/system/tidegate.service".to_owned(),
        "644".to_owned(),
    )];
    for asset in assets {
        let [from, to, mode] = [0_usize, 1, 2].map(|at| asset[at].as_str().unwrap());
        let names: Vec<String> = if let Some(directory) = from.strip_suffix("/*.toml") {
            let entries = fs::read_dir(project().join(directory)).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        } else {
            vec![from.rsplit('/').next().unwrap().to_owned()]
        };
        for name in names {
            let path = if to.ends_with('/') {
                format!("{to}{name}")
            } else {
                to.to_owned()
            };
            files.push((path, mode.to_owned()));
        }
    }
    files
}

#[test]
fn the_tarball_installs_what_the_package_does_and_keeps_what_an_operator_changed() {
    let (tarball, root) = (unpacked(), TempDir::new().unwrap());
    let (from, to) = (tarball.path(), root.path().to_str().unwrap());
    install(from, &[to]);
    let package = package();
    assert!(package.len() >= 11, "{package:?}");
    for (path, expected) in &package {
        assert_eq!(&mode(&root.path().join(path)), expected, "{path}");
    }
    for directory in ["etc/tidegate", "etc/tidegate/modbus", "usr/lib/sysusers.d"] {
        assert_eq!(mode(&root.path().join(directory)), "755", "{directory}");
    }
    let configuration = root.path().join("etc/tidegate/gateway.toml");
    fs::write(&configuration, "# changed on site\n").unwrap();
    let said = install(from, &[to]);
    assert!(said.contains("gateway.toml.dist"), "{said}");
    assert_eq!(
        fs::read_to_string(&configuration).unwrap(),
        "# changed on site\n"
    );
    assert_eq!(
        mode(&root.path().join("etc/tidegate/gateway.toml.dist")),
        "640"
    );
    install(from, &["--remove", to]);
    for (path, _) in &package {
        let stays = path.starts_with("etc/");
        assert_eq!(root.path().join(path).exists(), stays, "{path}");
    }
}
