//! The tags of a message.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, IgnoredAny, MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer};

/// Tags of an event; beyond it the event is refused. Each takes memory and a name that the cluster's consumers must know.
pub(super) const TAGS_MAX: usize = 256;

/// The texts of an event. Those over [`TAGS_MAX`] are not even read: many short ones take far more memory than a message is long.
#[derive(Debug)]
pub(super) struct Tags<V> {
    pub(super) texts: BTreeMap<String, V>,
    /// It is no map at all.
    pub(super) is_other: bool,
}

impl<V> Default for Tags<V> {
    fn default() -> Tags<V> {
        Tags {
            texts: BTreeMap::new(),
            is_other: false,
        }
    }
}

impl<V> Tags<V> {
    fn other() -> Tags<V> {
        Tags {
            texts: BTreeMap::new(),
            is_other: true,
        }
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Tags<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tags<V>, D::Error> {
        deserializer.deserialize_any(TagsVisitor(PhantomData))
    }
}

struct TagsVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> de::Visitor<'de> for TagsVisitor<V> {
    type Value = Tags<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of at most {TAGS_MAX} tags, which are texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tags<V>, A::Error> {
        let mut tags = Tags::default();
        while let Some((name, text)) = map.next_entry()? {
            if tags.texts.len() >= TAGS_MAX {
                return Err(de::Error::custom(format_args!(
                    "more than {TAGS_MAX} `tags`; put them into the payload"
                )));
            }
            tags.texts.insert(name, text);
        }
        Ok(tags)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tags<V>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Tags::other())
    }

    fn visit_str<E>(self, _: &str) -> Result<Tags<V>, E> {
        Ok(Tags::other())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tags<V>, E> {
        Ok(Tags::other())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tags<V>, E> {
        Ok(Tags::other())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tags<V>, E> {
        Ok(Tags::other())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tags<V>, E> {
        Ok(Tags::other())
    }
}
