//! A register map as TOML, with its keys in the order of their documentation.

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use toml::Table;

use super::{FieldSection, GroupSection};

/// A group without its fields, and its fields.
#[derive(Debug, Default)]
pub(in crate::modbus) struct WrittenGroup {
    pub(in crate::modbus) head: Table,
    pub(in crate::modbus) fields: Vec<Table>,
}

pub(in crate::modbus) fn written(groups: &[WrittenGroup]) -> String {
    let (of_group, of_field) = (keys::<GroupSection>(), keys::<FieldSection>());
    let groups = groups.iter().map(|group| {
        let fields = group.fields.iter();
        let fields: String = fields
            .map(|field| format!("\n[[group.field]]\n{}", lines(field, of_field)))
            .collect();
        format!("[[group]]\n{}{fields}", lines(&group.head, of_group))
    });
    groups.collect::<Vec<_>>().join("\n")
}

fn lines(table: &Table, order: &[&str]) -> String {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| {
        let place = order.iter().position(|known| known == key);
        place.unwrap_or(usize::MAX)
    });
    let entries = entries.into_iter();
    entries
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect()
}

/// The keys of a section, in the order of its documentation.
pub(super) fn keys<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    let told = T::deserialize(Keys(&mut keys));
    debug_assert!(told.is_err(), "there is nothing to make a section of");
    keys
}

/// A deserializer that only listens to what a struct asks it for.
struct Keys<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Keys<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("only the keys are asked for"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_the_order_of_the_documentation() {
        assert_eq!(
            keys::<GroupSection>()[..3],
            ["name", "function", "interval"]
        );
        assert_eq!(
            keys::<FieldSection>()[..4],
            ["name", "address", "addresses", "type"]
        );
        let table = |text: &str| toml::from_str(text).unwrap();
        let group = || WrittenGroup {
            head: table("interval = \"1s\"\nname = \"g\"\nfunction = 4"),
            fields: vec![
                table("address = 7\nmissing = [0x8000, -1]\nname = \"a \\\"b\\\"\"\nscale = 0.1"),
                table("type = \"u16\"\nnames = { 0 = \"off\" }\nname = \"c\"\naddress = 8"),
            ],
        };
        let text = "[[group]]\nname = \"g\"\nfunction = 4\ninterval = \"1s\"\n\n\
                    [[group.field]]\nname = 'a \"b\"'\naddress = 7\nscale = 0.1\nmissing = [32768, -1]\n\n\
                    [[group.field]]\nname = \"c\"\naddress = 8\ntype = \"u16\"\nnames = { 0 = \"off\" }\n";
        assert_eq!(written(&[group(), group()]), format!("{text}\n{text}"));
    }
}
