//! Modbus slaves that others wrote.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::rig::{free_port, project, wait_for};

/// A Modbus slave by other hands: Debian's pymodbus or libmodbus.
pub(crate) struct ForeignSlave {
    /// A path or `host:port`.
    pub(crate) place: String,
    children: Vec<Child>,
    _directory: TempDir,
}

/// Who wrote it.
#[derive(Clone, Copy)]
pub(crate) enum Hands {
    /// All framings.
    Pymodbus,
    /// RTU and TCP.
    Libmodbus,
}

impl ForeignSlave {
    /// `framing` is `tcp`, or `rtu-over-tcp`.
    pub(crate) fn on_tcp(hands: Hands, framing: &str) -> ForeignSlave {
        let (port, directory) = (free_port(), directory());
        let slave = ForeignSlave {
            place: format!("127.0.0.1:{port}"),
            children: vec![hands.slave(&[framing, &port.to_string()], &directory)],
            _directory: directory,
        };
        wait_for("the slave", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        slave
    }

    /// On one end of a pair of pseudo-terminals; `place` is the other. `framing` is `rtu`, or `ascii`.
    pub(crate) fn on_a_line(hands: Hands, framing: &str) -> ForeignSlave {
        let directory = directory();
        let end = |name: &str| directory.path().join(name).display().to_string();
        let (near, far) = (end("near"), end("far"));
        let mut socat = Command::new("setpriv");
        socat
            .args(["--pdeathsig", "KILL", "--", "socat"])
            .args([&near, &far].map(|path| format!("pty,rawer,link={path}")));
        let socat = socat.spawn().expect("socat is installed");
        wait_for("the line", || fs::metadata(&far).ok());
        ForeignSlave {
            place: near,
            children: vec![hands.slave(&[framing, &far], &directory), socat],
            _directory: directory,
        }
    }
}

fn directory() -> TempDir {
    TempDir::new().expect("a directory can be made")
}

impl Hands {
    fn slave(self, arguments: &[&str], directory: &TempDir) -> Child {
        let program = match self {
            Hands::Pymodbus => {
                let script = project().join("tests/gateway/modbus_slave.py");
                vec!["/usr/bin/python3".into(), script]
            }
            Hands::Libmodbus => vec![compiled(directory)],
        };
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("util-linux is installed")
    }
}

fn compiled(directory: &TempDir) -> PathBuf {
    let program = directory.path().join("slave");
    let status = Command::new("cc")
        .arg(project().join("tests/gateway/modbus_slave.c"))
        .args(["-I/usr/include/modbus", "-lmodbus", "-o"])
        .arg(&program)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "cc and libmodbus-dev are installed"
    );
    program
}

impl Drop for ForeignSlave {
    fn drop(&mut self) {
        for child in &mut self.children {
            if child.kill().is_ok() {
                let _status = child.wait();
            }
        }
    }
}
