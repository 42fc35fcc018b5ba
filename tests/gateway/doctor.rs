//! An electrician looks at a bus with `tidegate modbus`.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use load::slave::{Fault, SlaveLine};

use crate::foreign::{ForeignSlave, Hands};
use crate::needs_kafka;
use crate::peers::Kafka;
use crate::rig::{Gateway, binary, tidegate};

pub(crate) fn look(arguments: &[&str]) -> (bool, String) {
    let output = tidegate().arg("modbus").args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn slaves_are_found_read_watched_and_measured_by_hand() {
    let line = SlaveLine::start(&[(3, Fault::None), (5, Fault::Exception), (6, Fault::Garbage)]);
    let at = |what: &str, more: &[&str]| {
        let (ok, said) = look(&[&[what, "--port", line.path()], more].concat());
        assert!(ok, "{said}");
        said
    };
    let found = at("scan", &["--from", "2", "--to", "7", "--timeout", "50ms"]);
    assert!(found.contains("slave 3 answers after"), "{found}");
    assert!(found.contains("slave 5 is there, and says"), "{found}");
    assert!(found.contains("slave 6 says something else"), "{found}");
    assert!(found.contains("3 of 6 addresses answered"), "{found}");
    let read = at(
        "read",
        &["--slave", "3", "--address", "0x4", "--count", "2"],
    );
    assert!(read.contains("4 (0x0004)  0x0130    304"), "{read}");
    let typed = at(
        "read",
        &[
            "--slave",
            "3",
            "--address",
            "4",
            "--count",
            "2",
            "--type",
            "u32",
            "--order",
            "cdab",
        ],
    );
    for (address, value) in [(4, 305 * 65_536 + 304), (6, 307 * 65_536 + 306)] {
        let line = format!("{address} (0x000{address})  {value}\n");
        assert!(typed.contains(&line), "{typed}");
    }
    let watched = at(
        "watch",
        &["--slave", "3", "--interval", "10ms", "--times", "5"],
    );
    assert_eq!(watched.lines().count(), 1, "nothing changes: {watched}");
    let measured = at("bench", &["--slave", "3", "--count", "10", "--times", "10"]);
    for part in [
        "10 of 10 reads answered",
        "go over the wire\n",
        "timeout = ",
        "max_gap = ",
        "interval = ",
    ] {
        assert!(measured.contains(part), "{measured}");
    }
    let (ok, said) = look(&["read", "--port", line.path(), "--slave", "4"]);
    assert!(!ok && said.contains("slave 4: no answer in time"), "{said}");
    assert!(said.contains(" ms") && !said.contains('.'), "{said}");
}

#[test]
fn a_port_without_a_line_is_not_said_to_have_a_wire() {
    let slave = ForeignSlave::on_a_line(Hands::Libmodbus, "rtu");
    let (ok, said) = look(
        &[
            &["bench", "--port", &slave.place, "--slave", "9"],
            &["--count", "100", "--baud", "1200", "--times", "5"][..],
        ]
        .concat(),
    );
    assert!(ok && said.contains("seems to have no real line"), "{said}");
    assert!(!said.contains("of which"), "{said}");
}

#[test]
fn a_bus_that_the_agent_reads_is_left_to_it() {
    needs_kafka!();
    let (kafka, line) = (Kafka::shared(), SlaveLine::start(&[(1, Fault::None)]));
    let text = crate::buses::config(&kafka, &line, &[1]);
    let mut gateway = Gateway::new(&text).start();
    gateway.wait_until_connected("bus");
    let config = gateway.path("gateway.toml");
    let (ok, said) = look(&["scan", "-c", config.to_str().unwrap()]);
    assert!(
        !ok && said.contains("another program has it open"),
        "{said}"
    );
    assert!(said.contains("stop the agent"), "{said}");
    gateway.assert_account_closes();
}

#[test]
fn a_port_that_cannot_be_set_to_rs485_says_so_and_what_would_do() {
    let line = SlaveLine::start(&[(1, Fault::None)]);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("gateway.toml");
    let text = format!(
        "[uplink]\nbrokers = [\"kafka:9092\"]\n[[modbus]]\nname = \"bus\"\nline = {{ port = \"{}\", rs485 = {{ by = \"kernel\" }} }}\n\
         [[modbus.slave]]\naddress = 1\ndevice = \"d\"\n[[modbus.slave.group]]\nname = \"g\"\n[[modbus.slave.group.field]]\nname = \"x\"\naddress = 0\n",
        line.path()
    );
    std::fs::write(&config, text).unwrap();
    let (ok, said) = look(&["read", "-c", config.to_str().unwrap(), "--slave", "1"]);
    assert!(!ok && said.contains("to RS-485: "), "{said}");
    assert!(said.contains("set rs485.by = \"rts\""), "{said}");
}

#[test]
fn a_table_of_registers_becomes_a_map() {
    let directory = tempfile::tempdir().unwrap();
    let table = directory.path().join("meter.csv");
    std::fs::write(
        &table,
        "name,address,type,scale,unit\nvoltage,0x10,u16,0.1,V\n",
    )
    .unwrap();
    let (ok, map) = look(&["import", table.to_str().unwrap()]);
    assert!(ok && map.contains("address = 16"), "{map}");
    std::fs::write(&table, "name,address\nvoltage,north\n").unwrap();
    let (ok, said) = look(&["import", table.to_str().unwrap()]);
    assert!(
        !ok && said.contains("row 2, column `address`: `north`"),
        "{said}"
    );
    std::fs::write(&table, "Name;Address\nvoltage;40001\n").unwrap();
    let (ok, said) = look(&["import", table.to_str().unwrap()]);
    assert!(!ok && said.contains("say --addresses modicon"), "{said}");
    let said = tidegate()
        .args(["modbus", "import", "--addresses", "modicon", "-"])
        .stdin(std::fs::File::open(&table).unwrap())
        .output()
        .unwrap();
    let map = String::from_utf8(said.stdout).unwrap();
    let voltage = "function = 3\n\n[[group.field]]\nname = \"voltage\"\naddress = 0\n";
    assert!(map.contains(voltage), "{map}");
}

#[test]
fn a_port_that_is_not_ours_to_open_says_whose_it_is() {
    let line = SlaveLine::start(&[(1, Fault::None)]);
    let nobody = std::fs::Permissions::from_mode(0o0);
    std::fs::set_permissions(line.path(), nobody).unwrap();
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let open = std::fs::Permissions::from_mode(0o755);
    let directory = tempfile::Builder::new().permissions(open).tempdir();
    let copy = directory.as_ref().unwrap().path().join("tidegate");
    let mut command = if is_root {
        // The binary is below a directory that only root may enter.
        std::fs::copy(binary(), &copy).unwrap();
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(copy);
        command
    } else {
        tidegate()
    };
    let read = ["modbus", "read", "--slave", "1", "--port", line.path()];
    let output = command.args(read).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("add the agent's user to the group"), "{said}");
}
