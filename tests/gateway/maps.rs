//! Register maps, which many slaves share.

use std::fs;

use crate::configuration::{UPLINK, check_file};
use crate::rig::project;

#[test]
fn register_maps_are_read_from_beside_the_configuration_and_their_mistakes_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("gateway.toml");
    let maps = directory.path().join("modbus");
    fs::create_dir(&maps).unwrap();
    let slave = |map: &str| {
        let text = format!(
            "{UPLINK}[[modbus]]\nname = \"bus\"\nline = {{ port = \"/dev/ttyS1\" }}\n[[modbus.slave]]\naddress = 1\ndevice = \"d\"\nmap = \"{map}\"\n"
        );
        fs::write(&config, text).unwrap();
        check_file(&config)
    };
    let shipped = fs::read_dir(project().join("configs/modbus")).unwrap();
    let names: Vec<_> = shipped.map(|map| map.unwrap().file_name()).collect();
    assert!(names.len() >= 3);
    for name in &names {
        fs::copy(project().join("configs/modbus").join(name), maps.join(name)).unwrap();
        let (code, said) = slave(name.to_str().unwrap());
        assert_eq!(code, Some(0), "{said}");
    }
    let field = "[[group]]\nname = \"g\"\n[[group.field]]\nname = \"x\"\naddress = ";
    for (map, message) in [
        ("", "slave[0].map: "),
        ("nonsense", "line 1: "),
        (
            &format!("{field}5\ncolour = 1\n"),
            "line 6: group[0].field[0].colour: unknown key; ",
        ),
        (
            &format!("{field}5\ntype = \"string\"\n"),
            "slave[0].map own.toml: group[0].field[0].length: missing",
        ),
        (
            &format!("forbidden = [[0, 9]]\n{field}5\n"),
            "group[0].field[0].address: `5` lies in the forbidden range [0, 9]",
        ),
    ] {
        fs::write(maps.join("own.toml"), map).unwrap();
        let (code, said) = slave("own.toml");
        assert_eq!(code, Some(1), "{map}");
        assert!(said.contains(message), "{said}");
    }
    assert!(
        slave("none.toml")
            .1
            .contains("modbus/none.toml: No such file")
    );
}
