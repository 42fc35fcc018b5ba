//! The models of a SunSpec device, as `tidegate modbus scan --sunspec` finds them.

use crate::doctor::look;
use crate::foreign::{ForeignSlave, Hands};

#[test]
fn the_models_of_a_device_are_listed_and_become_a_map() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("device.toml");
    let map = file.to_str().unwrap();
    let device = ForeignSlave::on_tcp(Hands::Pymodbus, "tcp");
    let at = ["scan", "--tcp", &device.place, "--sunspec", "--slave", "9"];
    let (ok, said) = look(&[&at[..], &["--map", map]].concat());
    assert!(ok, "{said}");
    for line in [
        "slave 9: SunSpec from 40000 (0x9C40)\n",
        "model     1 at 40002 (0x9C42),  66 registers  common\n",
        "  manufacturer: Acme\n",
        "  serial: 007\n",
        "model   103 at 40070 (0x9C86),  50 registers  inverter, three phase\n",
        "model 64900 at 40122 (0x9CBA),   2 registers  -\n",
        &format!("wrote {map}: "),
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert!(!said.contains("breaks off"), "{said}");
    let written = std::fs::read_to_string(&file).unwrap();
    for part in [
        "name = \"serial\"\naddress = 40052\ntype = \"string\"\n",
        "name = \"power\"\naddress = 40084\ntype = \"i16\"\n",
        "scale_from = 40085\n",
    ] {
        assert!(written.contains(part), "{part} is not in\n{written}");
    }
    let (ok, said) = look(&[&at[..], &["--map", map]].concat());
    assert!(
        !ok && said.contains("as a new file: File exists (os error 17)\n"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
}

#[test]
fn a_device_that_is_none_says_what_it_has_where_the_marker_should_be() {
    let device = ForeignSlave::on_tcp(Hands::Libmodbus, "tcp");
    let (ok, said) = look(&["scan", "--tcp", &device.place, "--sunspec", "--slave", "9"]);
    assert!(
        !ok && said.contains("slave 9 has no SunSpec marker"),
        "{said}"
    );
    assert!(
        said.contains("40000 exception 2 (illegal data address)"),
        "{said}"
    );
    assert!(said.contains("0 has 0x00640065"), "{said}");
}
