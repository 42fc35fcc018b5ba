use std::collections::HashMap;

use super::*;
use crate::modbus::MapSection;

/// Walks over these registers; others are refused.
async fn over(registers: &[(u16, &[u16])]) -> Result<SunSpec, Vec<String>> {
    let blocks = registers.iter();
    let all: HashMap<u16, u16> = blocks
        .flat_map(|(first, words)| (*first..).zip(words.iter().copied()))
        .collect();
    let read = async |address: u16| {
        let words = [address, address + 1].map(|address| all.get(&address).copied());
        match words {
            [Some(first), Some(second)] => Ok([first, second]),
            _ => Err(ProbeError::Answer {
                slave: 1,
                error: "exception 2".into(),
                took: Duration::ZERO,
                is_exception: true,
            }),
        }
    };
    walk(read).await.unwrap()
}

fn model(id: u16, address: u16, length: u16) -> SunSpecModel {
    SunSpecModel {
        id,
        address,
        length,
    }
}

#[tokio::test]
async fn models_are_walked_to_the_end_of_their_list() {
    let [high, low] = MARKER;
    for base in BASES {
        let found = over(&[
            (base, &[high, low, 1, 66]),
            (base + 70, &[103, 50]),
            (base + 122, &[END, 0]),
        ])
        .await;
        let models = vec![model(1, base + 2, 66), model(103, base + 70, 50)];
        let whole = SunSpec {
            base,
            models,
            broken: None,
        };
        assert_eq!(found.unwrap(), whole);
    }
}

#[tokio::test]
async fn a_list_that_does_not_end_as_it_should_says_where() {
    let [high, low] = MARKER;
    for (base, after, count, broken) in [
        (0, &[1, 66][..], 1, Some("at register 70: exception 2")),
        (
            0,
            &[1, 1, 7, 5, 0][..],
            1,
            Some("at register 5: model 5 has no length"),
        ),
        (0, &[][..], 0, Some("at register 2: exception 2")),
        (0, &[END, 0][..], 0, None),
        (50_000, &[9, 15_533][..], 1, Some("past the last address")),
        (50_000, &[9, 65_000][..], 1, Some("past the last address")),
    ] {
        let registers = [&[high, low], after].concat();
        let found = over(&[(base, &registers)]).await.unwrap();
        assert_eq!(found.models.len(), count, "{found:?}");
        match broken {
            Some(said) => assert!(found.broken.unwrap().contains(said)),
            None => assert_eq!(found.broken, None),
        }
    }
    let endless = [&[high, low][..], &[7, 1, 0].repeat(MODELS_MAX + 1)].concat();
    let found = over(&[(0, &endless)]).await.unwrap();
    assert_eq!(found.models.len(), MODELS_MAX);
    assert!(found.broken.unwrap().contains("more than 200 models"));
}

#[tokio::test]
async fn a_device_without_the_marker_says_what_it_has_instead() {
    let said = over(&[(40_000, &[1, 2])]).await.unwrap_err();
    assert_eq!(
        said,
        ["40000 has 0x00010002", "50000 exception 2", "0 exception 2"]
    );
}

/// As configurations without `scale_from` read it.
fn map(models: &[SunSpecModel]) -> MapSection {
    let text = sunspec_map(models).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("scale_from"));
    let map: MapSection = toml::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(map.problems(), []);
    map
}

#[test]
fn a_map_has_the_points_of_the_models_where_they_are() {
    let text = sunspec_map(&[model(103, 40_069, 50)]).unwrap();
    for part in [
        "[[group]]\nname = \"inverter\"\nfunction = 3\ninterval = \"10s\"\n",
        "name = \"power\"\naddress = 40083\ntype = \"i16\"\n",
        "unit = \"W\"\nmissing = [32768]\n",
        "scale_from = 40084\n",
        "name = \"energy\"\naddress = 40093\ntype = \"u32\"\n",
        "unit = \"Wh\"\nmissing = [0]\n",
        "scale_from = 40095\n",
        "name = \"state\"\naddress = 40107\ntype = \"u16\"\nnames = { 1 = \"off\", 2 = \"sleeping\",",
    ] {
        assert!(text.contains(part), "{text}");
    }
    for (id, length, fields) in [
        (1, 65, 4),
        (101, 50, 7),
        (102, 50, 9),
        (103, 50, 11),
        (111, 60, 7),
        (113, 60, 11),
        (201, 105, 7),
        (202, 105, 9),
        (203, 105, 10),
        (204, 105, 9),
    ] {
        let map = map(&[model(id, 40_002, length)]);
        assert_eq!(map.group[0].field.len(), fields, "model {id}");
    }
}

#[test]
fn groups_have_names_of_their_own_and_nothing_is_left_out_silently() {
    let models = [1, 103, 103, 111, 160].map(|id| model(id, 40_002, 66));
    let names: Vec<String> = map(&models).group.into_iter().map(|g| g.name).collect();
    assert_eq!(names, ["common", "inverter", "inverter_2", "inverter_3"]);
    let short = sunspec_map(&[model(103, 40_069, 24)]).unwrap();
    assert!(
        short.contains("# Model 103 at 40069 has 24 registers only: left out are energy, state."),
        "{short}"
    );
    assert_eq!(sunspec_map(&[model(160, 40_002, 48)]), None);
}
