//! `tidegate modbus scan --sunspec`: the models of a device, and a register map of them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adapters::modbus::{Probe, SunSpecError, discover, sunspec_map};
use adapters::printable;

use super::shown;

#[derive(Debug, thiserror::Error)]
pub(in crate::command) enum LookError {
    #[error(transparent)]
    SunSpec(#[from] SunSpecError),
    #[error(
        "no map is written, as the device has no model that one is made for: 1, 101 to 103, 111 to 113, 201 to 204"
    )]
    NothingToMap,
    #[error("cannot write {} as a new file", path.display())]
    Map {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write")]
    Output(#[from] std::io::Error),
}

/// Lists the models of a slave, and writes their map to a new file.
pub(super) async fn look(
    probe: &mut Probe,
    slave: u8,
    timeout: Duration,
    map: Option<&Path>,
    out: &mut dyn Write,
) -> Result<(), LookError> {
    let found = discover(probe, slave, timeout).await?;
    writeln!(out, "slave {slave}: SunSpec from {}", shown(found.base))?;
    for model in &found.models {
        writeln!(
            out,
            "model {:>5} at {:>14}, {:>3} registers  {}",
            model.id,
            shown(model.address),
            model.length,
            model.name().unwrap_or("-")
        )?;
        match model.texts(probe, slave, timeout).await {
            Ok(texts) => {
                for (name, text) in texts {
                    writeln!(out, "  {name}: {}", printable(&text))?;
                }
            }
            Err(error) => writeln!(out, "  {error}")?,
        }
    }
    if let Some(why) = &found.broken {
        writeln!(out, "{why}")?;
    }
    let Some(path) = map else {
        return Ok(());
    };
    let text = sunspec_map(&found.models).ok_or(LookError::NothingToMap)?;
    let written =
        std::fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| LookError::Map {
        path: path.to_owned(),
        source,
    })?;
    writeln!(
        out,
        "wrote {}: put it beside the configuration, and name it as `map` of a [[modbus.slave]]",
        path.display()
    )?;
    Ok(())
}
