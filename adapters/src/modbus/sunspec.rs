//! SunSpec: a device lists its models, each with an id and a length, behind a marker (SunSpec Device Information Model
//! Specification, section 6). What is in them by offset is in `points`; only reads.

mod points;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::probe::{Place, Probe, ProbeError, value_of};
use super::section::{WrittenGroup, written};
use points::Point;

/// Where the marker may stand.
const BASES: [u16; 3] = [40_000, 50_000, 0];
/// `SunS`.
const MARKER: [u16; 2] = [0x5375, 0x6E53];
const END: u16 = 0xFFFF;
/// Models of one device. It has ten or twenty; registers that are no list of models could else be walked for hours.
const MODELS_MAX: usize = 200;

/// A model of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SunSpecModel {
    pub id: u16,
    /// Of its id; its length is the next one.
    pub address: u16,
    /// Registers behind these two.
    pub length: u16,
}

/// What a device says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct SunSpec {
    /// Where its marker is.
    pub base: u16,
    pub models: Vec<SunSpecModel>,
    /// Why the list ends otherwise than it should.
    pub broken: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SunSpecError {
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(
        "slave {slave} has no SunSpec marker (0x53756E53, `SunS`) at register 40000, 50000 or 0: {}; look whether it is switched on in the device, and at which slave address",
        said.join(", ")
    )]
    NoMarker { slave: u8, said: Vec<String> },
}

/// Looks for the models of a slave. `timeout` is how long it may take to begin each answer.
pub async fn discover(
    probe: &mut Probe,
    slave: u8,
    timeout: Duration,
) -> Result<SunSpec, SunSpecError> {
    let found = walk(async |address| pair(probe, slave, timeout, address).await).await?;
    found.map_err(|said| SunSpecError::NoMarker { slave, said })
}

/// Two registers. What is not answered, or is broken, is asked for twice.
async fn pair(
    probe: &mut Probe,
    slave: u8,
    timeout: Duration,
    address: u16,
) -> Result<[u16; 2], ProbeError> {
    let place = Place {
        slave,
        function: 3,
        address,
        count: 2,
    };
    let answer = match probe.read(place, timeout).await {
        Err(ProbeError::Answer {
            is_exception: false,
            ..
        }) => probe.read(place, timeout).await?,
        first => first?,
    };
    let mut words = [0; 2];
    for (word, bytes) in words.iter_mut().zip(answer.data.as_chunks::<2>().0) {
        *word = u16::from_be_bytes(*bytes);
    }
    Ok(words)
}

/// Walks the list; where there is none, what was found in the places of the marker. An error is one of the line.
async fn walk(
    mut read: impl AsyncFnMut(u16) -> Result<[u16; 2], ProbeError>,
) -> Result<Result<SunSpec, Vec<String>>, ProbeError> {
    let mut said = Vec::new();
    for base in BASES {
        match read(base).await {
            Ok(MARKER) => return models(base, read).await.map(Ok),
            Ok([high, low]) => said.push(format!("{base} has 0x{high:04X}{low:04X}")),
            Err(ProbeError::Answer { error, .. }) => said.push(format!("{base} {error}")),
            Err(error @ (ProbeError::Line(_) | ProbeError::Place { .. })) => return Err(error),
        }
    }
    Ok(Err(said))
}

async fn models(
    base: u16,
    mut read: impl AsyncFnMut(u16) -> Result<[u16; 2], ProbeError>,
) -> Result<SunSpec, ProbeError> {
    let mut models: Vec<SunSpecModel> = Vec::new();
    let mut next = u32::from(base) + 2;
    let broken = loop {
        let Some(address) = u16::try_from(next).ok().filter(|at| *at < u16::MAX) else {
            break Some("it goes past the last address, 65535 (0xFFFF)".to_owned());
        };
        if models.len() == MODELS_MAX {
            break Some(format!("it has more than {MODELS_MAX} models"));
        }
        match read(address).await {
            Ok([END, _]) => break None,
            Ok([id, 0]) => break Some(format!("model {id} has no length")),
            Ok([id, length]) => {
                models.push(SunSpecModel {
                    id,
                    address,
                    length,
                });
                next += 2 + u32::from(length);
            }
            Err(ProbeError::Answer { error, .. }) => break Some(error),
            Err(error @ (ProbeError::Line(_) | ProbeError::Place { .. })) => return Err(error),
        }
    };
    let broken = broken.map(|why| format!("the list breaks off at register {next}: {why}"));
    Ok(SunSpec {
        base,
        models,
        broken,
    })
}

impl SunSpecModel {
    /// Its name in the specification, if it is a common one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        points::name(self.id)
    }

    /// The points that a map has of it, in order: those that it is long enough for, and those that it is not.
    fn points(self) -> (Vec<&'static Point>, Vec<&'static Point>) {
        let all = points::of(self.id);
        all.partition(|point| point.end() <= u32::from(self.length) + 2)
    }

    /// What model 1 says of the device: name and text. Nothing of other models.
    pub async fn texts(
        self,
        probe: &mut Probe,
        slave: u8,
        timeout: Duration,
    ) -> Result<Vec<(&'static str, String)>, ProbeError> {
        let mut texts = Vec::new();
        let (points, _) = self.points();
        for point in points.into_iter().filter(|_| self.id == 1) {
            let field = point.text(self.address);
            let place = Place {
                slave,
                function: 3,
                address: field.address,
                count: field.registers(3),
            };
            let answer = probe.read(place, timeout).await?;
            if let (Value::String(text), "good") = value_of(&field, place, &answer.data) {
                texts.push((point.name, text));
            }
        }
        Ok(texts)
    }
}

/// A register map of the models that one is made for, as TOML; `None` if there is none of them.
///
/// Values that a device has not implemented are `missing`. Fields with a scale factor name its register: `scale_from`.
#[must_use]
pub fn sunspec_map(models: &[SunSpecModel]) -> Option<String> {
    let (mut names, mut groups, mut remarks) = (BTreeSet::new(), Vec::new(), Vec::new());
    for model in models {
        let (points, too_far) = model.points();
        let SunSpecModel {
            id,
            address,
            length,
        } = model;
        if !too_far.is_empty() {
            let too_far: Vec<_> = too_far.iter().map(|point| point.name).collect();
            let too_far = too_far.join(", ");
            remarks.push(format!(
                "# Model {id} at {address} has {length} registers only: left out are {too_far}.\n"
            ));
        }
        if points.is_empty() {
            continue;
        }
        let name = points::group(*id);
        let further = (2_u32..).map(|number| format!("{name}_{number}"));
        let mut free = std::iter::once(name.to_owned()).chain(further);
        let name = free.find(|name| names.insert(name.clone()));
        let name = name.unwrap_or_default();
        groups.push(WrittenGroup {
            head: points::head(*id, &name),
            fields: points.iter().map(|point| point.field(*address)).collect(),
        });
    }
    (!groups.is_empty()).then(|| {
        format!(
            "# The SunSpec models of a device where `tidegate modbus scan --sunspec` found them. Look at the intervals.\n{}\n{}",
            remarks.concat(),
            written(&groups)
        )
    })
}

#[cfg(test)]
mod tests;
