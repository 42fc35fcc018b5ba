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
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
}
