use super::super::super::ModbusSection;
use super::super::FieldSection;

fn problems(function: u8, text: &str) -> Vec<String> {
    let field: FieldSection = toml::from_str(&format!("name = \"x\"\n{text}")).unwrap();
    let mut problems = Vec::new();
    field.problems(function, 125, "field", &mut problems);
    problems
        .into_iter()
        .map(|(key, message)| format!("{key}: {message}"))
        .collect()
}

#[test]
fn what_devices_have_is_no_mistake() {
    for text in [
        "address = 0\nscale_from = 9",
        "address = 0\ntype = \"u64\"\nscale_from = 9\noffset = 1.0\nrate_per = \"1h\"",
        "address = 65535\nscale_from = 65535",
        "addresses = [78, 80]\ntype = \"u32\"\nscale_from = 79",
        "addresses = [65535, 0]\ntype = \"f32\"",
        "addresses = [4]",
        "addresses = [1, 3, 5]\ntype = \"string\"\nlength = 3",
        "address = 0\ntype = \"u64\"\njson = \"string\"",
        "address = 0\ncount = 3\ntype = \"i64\"\njson = \"number\"",
    ] {
        assert_eq!(problems(4, text), [""; 0], "{text}");
    }
}

fn assert_said(table: &[(u8, &str, &str)]) {
    for (function, text, said) in table {
        let problems = problems(*function, text);
        let is_said = problems.iter().any(|one| one.starts_with(said));
        assert!(is_said, "{text}: {problems:?}");
    }
}

#[test]
fn what_does_not_go_with_a_scale_is_said_with_its_key() {
    let no_number = "field.scale_from: goes with a field that is a number";
    let no_whole = "field.json: goes with a whole number";
    assert_said(&[
        (
            3,
            "address = 0\nscale_from = 1\nscale = 0.1",
            "field.scale_from: does not go with `scale`",
        ),
        (
            3,
            "address = 0\nscale_from = 1\ntype = \"string\"\nlength = 2",
            no_number,
        ),
        (
            3,
            "address = 0\nscale_from = 1\nflags = { 0 = \"on\" }",
            no_number,
        ),
        (1, "address = 0\nscale_from = 1", no_number),
        (
            3,
            "address = 0\nscale = 0.1\ntype = \"datetime\"",
            "field.scale: goes with a field that is a number",
        ),
        (
            3,
            "address = 0\nscale = inf",
            "field.scale: must be a number that is finite",
        ),
        (
            3,
            "address = 0\noffset = nan",
            "field.offset: must be a number that is finite",
        ),
        (
            3,
            "address = 0\njson = \"string\"\ntype = \"f32\"",
            no_whole,
        ),
        (
            3,
            "address = 0\njson = \"string\"\nscale_from = 1",
            no_whole,
        ),
        (
            3,
            "address = 0\ntype = \"bcd\"\nlength = 0\nflags = { 0 = \"on\" }",
            "field.flags: `0` is not a bit",
        ),
        (
            3,
            "address = 0\ntype = \"string\"\nlength = 5000",
            "field.length: the field takes 5000 registers",
        ),
    ]);
}

#[test]
fn addresses_that_make_no_value_are_said_to() {
    assert_said(&[
        (
            3,
            "addresses = [1, 3]\naddress = 1\ntype = \"u32\"",
            "field.addresses: does not go with `address`",
        ),
        (
            3,
            "addresses = [1, 3]\ncount = 2",
            "field.addresses: does not go with `count`",
        ),
        (
            3,
            "addresses = [1, 3]",
            "field.addresses: has 2 registers; the value takes 1",
        ),
        (
            3,
            "addresses = [1, 3]\ntype = \"u64\"",
            "field.addresses: has 2 registers; the value takes 4",
        ),
        (
            2,
            "addresses = [1]",
            "field.addresses: goes with functions 3 and 4",
        ),
    ]);
}

/// What is said of a field that reads 2, 10 and the factor in 20, by a device or a group that stands only some of it.
#[test]
fn every_register_of_a_field_is_held_against_what_the_device_stands() {
    for (of_slave, of_group, said) in [
        ("", "blocks = [[0, 21]]", None),
        ("", "blocks = [[2, 1], [10, 1], [20, 1]]", None),
        (
            "",
            "blocks = [[0, 11]]",
            Some("scale_from: the field lies in none of the group's `blocks`, from `20` on"),
        ),
        (
            "",
            "blocks = [[3, 18]]",
            Some("addresses: the field lies in none of the group's `blocks`, from `2` on"),
        ),
        ("forbidden = [[3, 9], [11, 19]]", "", None),
        (
            "forbidden = [[10, 12]]",
            "",
            Some("addresses: `10` lies in the forbidden range [10, 12]"),
        ),
        (
            "forbidden = [[20, 20]]",
            "",
            Some("scale_from: `20` lies in the forbidden range [20, 20]"),
        ),
    ] {
        let section: ModbusSection = toml::from_str(&format!(
            "name = \"bus\"\nline = {{ port = \"/dev/ttyS1\" }}\n[[slave]]\naddress = 1\ndevice = \"d\"\n{of_slave}\n\
             [[slave.group]]\nname = \"g\"\n{of_group}\n[[slave.group.field]]\nname = \"x\"\naddresses = [10, 2]\n\
             type = \"u32\"\nscale_from = 20\n"
        ))
        .unwrap();
        let problems = section.problems().into_iter();
        let problems: Vec<String> = problems
            .map(|(key, message)| format!("{key}: {message}"))
            .collect();
        let expected = said.map(|said| format!("slave[0].group[0].field[0].{said}"));
        assert_eq!(problems, Vec::from_iter(expected), "{of_slave} {of_group}");
    }
}

#[test]
fn a_field_without_a_place_is_missing_it_and_one_with_it_is_written_as_it_was() {
    let read = |text: &str| toml::from_str::<FieldSection>(&format!("name = \"x\"\n{text}"));
    for text in ["", "addresses = []"] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains("missing field `address`"), "{error}");
    }
    for (text, address) in [
        ("address = 5", 5),
        ("addresses = [7, 9]\ntype = \"u32\"", 7),
    ] {
        let field = read(text).unwrap();
        assert_eq!(field.address, address);
        let again: FieldSection = toml::from_str(&toml::to_string(&field).unwrap()).unwrap();
        assert_eq!(again, field);
    }
    assert_eq!(
        read("address = 5").unwrap().address,
        FieldSection::at(5).address
    );
}
