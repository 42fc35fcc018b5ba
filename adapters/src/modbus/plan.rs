//! Which requests read a group: neighbours in one, gaps read along where that is cheaper. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::blocks::Blocks;
use super::frame::Request;
use super::master::Manners;
use super::section::{FieldSection, GroupSection, ModbusSection, SlaveSection};
use super::track::Track;
use crate::{AdapterKind, Origin, Quality};

/// A group with everything that does not change from poll to poll, and what its reads have told.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) slave: u8,
    pub(super) manners: Manners,
    pub(super) interval: Duration,
    /// It feeds an urgent intent, and goes before others that are due.
    pub(super) urgent: bool,
    pub(super) function: u8,
    pub(super) fields: Vec<FieldSection>,
    pub(super) blocks: Blocks,
    pub(super) track: Track,
    pub(super) good: Arc<Origin>,
    pub(super) bad: Arc<Origin>,
    pub(super) due: Instant,
    /// A busy slave is asked again then, so many more times.
    pub(super) again: Option<(Instant, u8)>,
    /// Events made so far.
    pub(super) count: u64,
}

pub(super) fn groups(
    section: &ModbusSection,
    is_urgent: &dyn Fn(&Arc<Origin>) -> bool,
) -> Vec<Group> {
    let now = Instant::now();
    let of_slave = |slave: &SlaveSection| {
        let group = |group: &GroupSection| {
            let origin = Arc::new(origin(section, slave, group));
            let interval = group.interval(slave).0;
            Group {
                slave: slave.address,
                manners: Manners {
                    timeout: slave.timeout.unwrap_or(section.timeout).0,
                    turnaround: slave.turnaround.unwrap_or(section.turnaround).0,
                },
                interval,
                urgent: is_urgent(&origin),
                function: group.function,
                fields: group.field.clone(),
                blocks: Blocks::new(section.requests(slave, group), group),
                track: Track::new(group, now),
                bad: Arc::new(Origin {
                    quality: Quality::Bad,
                    ..Origin::clone(&origin)
                }),
                good: origin,
                due: now,
                again: None,
                count: 0,
            }
        };
        slave.group.iter().map(group).collect::<Vec<_>>()
    };
    section.slave.iter().flat_map(of_slave).collect()
}

fn origin(section: &ModbusSection, slave: &SlaveSection, group: &GroupSection) -> Origin {
    Origin {
        adapter: AdapterKind::Modbus,
        source: section.name.clone(),
        subject: format!("{}/{}/{}", section.name, slave.address, group.name),
        device: slave.device.clone(),
        kind: group.name.clone(),
        tags: BTreeMap::from([("slave".into(), slave.address.to_string())]),
        intent: group.intent.clone().or_else(|| slave.intent.clone()),
        content_type: Some("application/json".into()),
        quality: Quality::Good,
    }
}

/// Registers that fields take: the first, and how many.
pub(super) type Span = (u16, u16);

pub(super) struct Limits<'a> {
    /// Registers or bits in one request.
    pub(super) most: u16,
    pub(super) max_gap: u16,
    pub(super) forbidden: &'a [[u16; 2]],
    pub(super) one_request_per_field: bool,
}

impl ModbusSection {
    /// What is asked to read a group.
    pub(super) fn requests(&self, slave: &SlaveSection, group: &GroupSection) -> Vec<Request> {
        if !group.blocks.is_empty() {
            let block = |[address, count]: &[u16; 2]| Request {
                function: group.function,
                address: *address,
                count: *count,
            };
            return group.blocks.iter().map(block).collect();
        }
        let wanted: Vec<Span> = group
            .field
            .iter()
            .flat_map(|field| field.spans(group.function))
            .collect();
        let limits = Limits {
            most: slave.most(group.function, self),
            max_gap: slave.max_gap.unwrap_or(self.max_gap),
            forbidden: &slave.forbidden,
            one_request_per_field: slave.one_request_per_field.unwrap_or(false),
        };
        requests(wanted, group.function, &limits)
    }
}

/// The fewest requests that cover what is `wanted` within the limits.
fn requests(mut wanted: Vec<Span>, function: u8, limits: &Limits) -> Vec<Request> {
    wanted.sort_unstable();
    // One scale factor for many fields.
    wanted.dedup();
    let mut requests: Vec<Request> = Vec::new();
    for (address, count) in wanted {
        if let Some(last) = requests.last_mut()
            && let Some(joined) = limits.joined(*last, address, count)
        {
            last.count = joined;
        } else {
            requests.push(Request {
                function,
                address,
                count,
            });
        }
    }
    requests
}

impl Limits<'_> {
    /// How long `last` becomes if it reads `count` registers from `address` as well, if it may.
    fn joined(&self, last: Request, address: u16, count: u16) -> Option<u16> {
        let end = u32::from(last.address) + u32::from(last.count);
        let reach = end.max(u32::from(address) + u32::from(count));
        let joined = u16::try_from(reach - u32::from(last.address)).ok()?;
        let is_forbidden = |[from, to]: &[u16; 2]| u32::from(*from) < reach && last.address <= *to;
        let may = !self.one_request_per_field
            && u32::from(address) <= end + u32::from(self.max_gap)
            && joined <= self.most
            && !self.forbidden.iter().any(is_forbidden);
        may.then_some(joined)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::REGISTERS_MAX;
    use super::*;

    fn limits(max_gap: u16) -> Limits<'static> {
        Limits {
            most: REGISTERS_MAX,
            max_gap,
            forbidden: &[],
            one_request_per_field: false,
        }
    }

    fn read(addresses: &[u16], limits: &Limits) -> Vec<(u16, u16)> {
        let wanted = addresses.iter().map(|address| (*address, 2)).collect();
        let requests = requests(wanted, 3, limits);
        requests.iter().map(|r| (r.address, r.count)).collect()
    }

    #[test]
    fn neighbours_are_read_in_one_request_and_far_ones_are_not() {
        assert_eq!(read(&[4, 0, 2], &limits(0)), [(0, 6)]);
        assert_eq!(read(&[0, 6], &limits(4)), [(0, 8)]);
        assert_eq!(read(&[0, 6], &limits(3)), [(0, 2), (6, 2)]);
        assert_eq!(read(&[0, 122, 124], &limits(200)), [(0, 124), (124, 2)]);
    }

    #[test]
    fn a_touchy_device_is_asked_only_what_it_stands() {
        let few = Limits {
            most: 4,
            ..limits(8)
        };
        assert_eq!(read(&[0, 2, 4, 6], &few), [(0, 4), (4, 4)]);
        let forbidden = Limits {
            forbidden: &[[2, 3]],
            ..limits(8)
        };
        assert_eq!(read(&[0, 4, 6], &forbidden), [(0, 2), (4, 4)]);
        let single = Limits {
            one_request_per_field: true,
            ..limits(8)
        };
        assert_eq!(read(&[0, 2], &single), [(0, 2), (2, 2)]);
    }

    #[test]
    fn what_belongs_to_a_field_is_read_with_it() {
        let planned = |of_slave: &str, fields: &[&str]| {
            let fields: String = (0..)
                .zip(fields)
                .map(|(n, keys)| format!("[[slave.group.field]]\nname = \"f{n}\"\n{keys}\n"))
                .collect();
            let text = format!(
                "name = \"bus\"\nline = {{ port = \"/dev/ttyS1\" }}\n[[slave]]\naddress = 1\ndevice = \"d\"\n{of_slave}\n\
                 [[slave.group]]\nname = \"g\"\nfunction = 4\n{fields}"
            );
            let section: ModbusSection = toml::from_str(&text).unwrap();
            let slave = &section.slave[0];
            let requests = section.requests(slave, &slave.group[0]);
            assert!(requests.iter().all(|request| request.function == 4));
            let spans = requests.iter().map(|one| (one.address, one.count));
            spans.collect::<Vec<_>>()
        };
        let scaled = "address = 40\nscale_from = 44";
        for (of_slave, fields, requests) in [
            ("", &[scaled][..], &[(40, 5)][..]),
            ("max_gap = 2", &[scaled], &[(40, 1), (44, 1)]),
            ("max_registers = 4", &[scaled], &[(40, 1), (44, 1)]),
            ("forbidden = [[42, 42]]", &[scaled], &[(40, 1), (44, 1)]),
            ("", &["address = 40\nscale_from = 39"], &[(39, 2)]),
            (
                "",
                &["address = 40\nscale_from = 900"],
                &[(40, 1), (900, 1)],
            ),
            (
                "one_request_per_field = true",
                &[scaled, "address = 41\nscale_from = 44"],
                &[(40, 1), (41, 1), (44, 1)],
            ),
            ("", &["addresses = [80, 78]\ntype = \"u32\""], &[(78, 3)]),
            (
                "max_gap = 0",
                &[
                    "addresses = [80, 78]\ntype = \"u32\"\nscale_from = 300",
                    "address = 79",
                ],
                &[(78, 3), (300, 1)],
            ),
        ] {
            assert_eq!(planned(of_slave, fields), requests, "{of_slave} {fields:?}");
        }
    }

    proptest! {
        #[test]
        fn every_field_lies_whole_in_one_request_that_is_allowed(
            addresses in prop::collection::vec(0u16..600, 1..40), max_gap in 0u16..50, most in 2u16..=125, from in 0u16..600,
        ) {
            let forbidden = [[from, from + 5]];
            let fits = |address: &u16| *address > from + 5 || address + 1 < from;
            let addresses: Vec<u16> = addresses.into_iter().filter(fits).collect();
            let limits = Limits { most, max_gap, forbidden: &forbidden, one_request_per_field: false };
            let requests = read(&addresses, &limits);
            for address in addresses {
                prop_assert!(requests.iter().any(|(first, count)| *first <= address && address + 2 <= first + count));
            }
            for (first, count) in requests {
                prop_assert!(count <= most && (first > from + 5 || first + count <= from), "{first} {count}");
            }
        }
    }
}
