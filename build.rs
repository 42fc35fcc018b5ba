//! Tells the binary its git revision, its target and when it was built.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .output()
            .ok()
            .filter(|output| output.status.success());
        output
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .filter(|text| !text.is_empty())
    };
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    // The time of the commit keeps builds reproducible; SOURCE_DATE_EPOCH is the convention for others.
    let built = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .or_else(|| git(&["log", "-1", "--format=%ct"]));
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
            .to_string()
    };
    println!("cargo::rustc-env=TIDEGATE_REVISION={revision}");
    println!(
        "cargo::rustc-env=TIDEGATE_BUILT_UNIX={}",
        built.unwrap_or_else(now)
    );
    println!(
        "cargo::rustc-env=TIDEGATE_TARGET={}",
        std::env::var("TARGET").unwrap_or_default()
    );
    println!("cargo::rustc-env=TIDEGATE_LIBRARIES={}", libraries());
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-changed=.git/HEAD");
    // Each commit is a line here. A debug build may say an older revision rather than be built anew.
    let log = std::path::Path::new(".git/logs/HEAD");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") && log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
}

/// The versions of the libraries that an operator may be asked for, from the lock file.
fn libraries() -> String {
    const NAMES: [&str; 8] = [
        "rumqttc",
        "tokio",
        "rdkafka",
        "sled",
        "serde_cbor",
        "rustls",
        "tokio-serial",
        "zstd",
    ];
    let lock = std::fs::read_to_string("Cargo.lock").expect("the lock file is there");
    let field = |entry: &str, key: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches([' ', '=', '"']).to_owned())
    };
    let named = lock.split("[[package]]").filter_map(|entry| {
        let name = field(entry, "name").filter(|name| NAMES.contains(&name.as_str()))?;
        Some(format!("{name} {}", field(entry, "version")?))
    });
    named.collect::<Vec<_>>().join(", ")
}
