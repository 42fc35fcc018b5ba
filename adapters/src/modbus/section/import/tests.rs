use super::*;

fn map(table: &str, numbering: Option<Numbering>) -> MapSection {
    let text = import(table, numbering).unwrap();
    toml::from_str(&text).unwrap()
}

#[test]
fn a_table_becomes_a_map() {
    let map = map(
        "group,interval,function,name,address,type,scale,unit,missing,names\n\
         measured,1s,4,voltage,0x10,u16,0.1,V,\"[0x8000]\",\n\
         measured,,,state,18,,,,,\"{ 0 = \"\"off\"\", 1 = \"\"on\"\" }\"\n\
         # a remark\n\
         energy,1m,,import,100,u32,,kWh,,\n",
        None,
    );
    let [measured, energy] = map.group.as_slice() else {
        panic!("two groups: {map:?}");
    };
    assert_eq!((measured.function, measured.field.len()), (4, 2));
    assert_eq!(
        (measured.field[0].address, measured.field[0].scale),
        (16, Some(0.1))
    );
    assert_eq!(measured.field[0].missing.len(), 1);
    assert_eq!(measured.field[1].names["1"], "on");
    assert_eq!(
        (energy.function, energy.field[0].unit.as_deref()),
        (3, Some("kWh"))
    );
}

#[test]
fn keys_come_out_in_the_order_of_their_documentation() {
    let text = import(
        "Unit; Type ;ADDRESS;Interval;Name;Group\nV;u16;0X10;1s;12;g\n",
        None,
    );
    assert_eq!(
        text.unwrap(),
        "[[group]]\nname = \"g\"\ninterval = \"1s\"\n\n[[group.field]]\nname = \"12\"\naddress = 16\ntype = \"u16\"\nunit = \"V\"\n"
    );
}

#[test]
fn numbers_of_modicon_are_taken_where_they_are_said_to_be() {
    let table = "name,address\na,40001\nb,400102\nc,30001\nd,00002\ne,10001\n";
    let of_modicon = map(table, Some(Numbering::Modicon));
    let read = of_modicon.group.iter().map(|group| {
        let addresses = group.field.iter().map(|field| field.address);
        (group.name.as_str(), group.function, addresses.collect())
    });
    let read: Vec<(&str, u8, Vec<u16>)> = read.collect();
    assert_eq!(
        read,
        [
            ("holding_registers", 3, vec![0, 101]),
            ("input_registers", 4, vec![0]),
            ("coils", 1, vec![1]),
            ("discrete_inputs", 2, vec![0]),
        ]
    );
    let wire = map("name,address\na,40001\n", Some(Numbering::Wire));
    assert_eq!(wire.group[0].field[0].address, 40_001);
    let by_column = map(
        "name,address,addresses\na,40001,Modicon\nb,40001,wire\n",
        None,
    );
    assert_eq!(by_column.group[0].field[0].address, 0);
    assert_eq!(by_column.group[1].field[0].address, 40_001);
    // Not all of them can be numbers of Modicon's.
    let mixed = map("name,address\na,40001\nb,50001\n", None);
    assert_eq!(mixed.group[0].field[0].address, 40_001);
}

fn assert_refused(tables: &[(&str, &str)]) {
    for (table, message) in tables {
        let error = import(table, None).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_column_that_is_wrong_is_named() {
    assert_refused(&[
        ("name,type\nx,u16\n", "no column `address`"),
        ("name,address\n", "no rows"),
        (
            "name,address,colour\nx,0,red\n",
            "column `colour`: no group or field has such a key; use group, addresses, function,",
        ),
        ("name,address,field\nx,0,1\n", "column `field`: no group or"),
        ("name,address,Name\nx,0,y\n", "column `name`: there are two"),
        ("name,address,\nx,0,y\n", "column ``: the column in place 3"),
    ]);
}

#[test]
fn a_cell_that_is_wrong_is_said_with_its_row_column_and_value() {
    assert_refused(&[
        (
            "name,address\nx,0\ny,99999\n",
            "row 3, column `address`: `99999`: use a whole number from 0 to 65535",
        ),
        ("name,address\n,5\n", "row 2, column `name`: it is empty"),
        (
            "name,address,type\nx,0,u17\n",
            "row 2, column `type`: `u17`: unknown variant `u17`, expected one of `bool`",
        ),
        (
            "name,address,type,length\nx,0,string,\n",
            "row 2, column `length`: missing",
        ),
        (
            "name,address,interval\nx,0,soon\n",
            "row 2, column `interval`: `soon`: `soon` is not a duration",
        ),
        (
            "name,address,type,count\nx,0,u32,63\n",
            "row 2, column `count`: `63`: the field takes 126 registers",
        ),
        (
            "name;address;scale\nx;0;0,1\n",
            "row 2, column `scale`: `0,1`: use a number with a point",
        ),
        (
            "name,address,missing\nx,0,0x8000\n",
            "row 2, column `missing`: `0x8000`: use numbers in brackets",
        ),
        ("name,address\nx,0,1\n", "row 2: it has 3 cells"),
    ]);
}

#[test]
fn rows_that_do_not_agree_are_refused() {
    assert_refused(&[
        (
            "group,name,address,interval\ng,x,0,1s\ng,y,1,2s\n",
            "row 3, column `interval`: `2s`, but row 2, the first of the group `g`, says `1s`",
        ),
        (
            "name,address,function\nx,0,\ny,1,4\n",
            "row 3, column `function`: `4`, but row 2, the first of the group `all`, says nothing",
        ),
        (
            "name,address\nx,0\ny,1\nx,2\n",
            "row 4, column `name`: `x` is the field of row 2 already",
        ),
    ]);
}

#[test]
fn numbers_of_modicon_are_never_guessed() {
    assert_refused(&[
        (
            "name,address\nx,40001\ny,30002\n",
            "row 2, column `address`: `40001`, and all other addresses, may be in Modicon's numbering",
        ),
        ("name,address\nx,40001\n", "--addresses modicon"),
        (
            "name,address,addresses\nx,40001,plc\n",
            "row 2, column `addresses`: `plc`; use wire or modicon",
        ),
        (
            "name,address,addresses\nx,7,modicon\n",
            "row 2, column `address`: `7` is no number of Modicon's; use 40001",
        ),
        (
            "name,address,addresses,function\nx,40001,modicon,4\n",
            "row 2, column `address`: `40001` is read with function 3, and the row is of function 4",
        ),
        (
            "name,address,addresses,group\nx,40001,modicon,g\ny,30001,modicon,g\n",
            "row 3, column `function`: `4`, but row 2, the first of the group `g`, says `3`",
        ),
    ]);
}
