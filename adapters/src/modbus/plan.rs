//! Which requests read a group: neighbours in one, gaps read along where that is cheaper. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::frame::{BITS_MAX, REGISTERS_MAX, Request};
use super::rtu::Manners;
use super::section::{FieldSection, ModbusSection};
use crate::{AdapterKind, Origin, Quality};

/// A group with everything that does not change from poll to poll.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) slave: u8,
    pub(super) manners: Manners,
    pub(super) interval: Duration,
    pub(super) function: u8,
    pub(super) fields: Vec<FieldSection>,
    pub(super) requests: Vec<Request>,
    pub(super) good: Arc<Origin>,
    pub(super) bad: Arc<Origin>,
    pub(super) due: Instant,
    /// Events made so far.
    pub(super) count: u64,
}

pub(super) fn groups(section: &ModbusSection) -> Vec<Group> {
    let now = Instant::now();
    let of_slave = |slave: &super::SlaveSection| {
        let group = |group: &super::GroupSection| {
            let origin = Origin {
                adapter: AdapterKind::Modbus,
                source: section.name.clone(),
                subject: format!("{}/{}/{}", section.name, slave.address, group.name),
                device: slave.device.clone(),
                kind: group.name.clone(),
                tags: BTreeMap::from([("slave".into(), slave.address.to_string())]),
                intent: group.intent.clone(),
                content_type: Some("application/json".into()),
                quality: Quality::Good,
            };
            Group {
                slave: slave.address,
                manners: Manners {
                    timeout: slave.timeout.unwrap_or(section.timeout).0,
                    turnaround: slave.turnaround.unwrap_or(section.turnaround).0,
                },
                interval: group.interval.0,
                function: group.function,
                fields: group.field.clone(),
                requests: requests(&group.field, group.function, section.max_gap),
                bad: Arc::new(Origin {
                    quality: Quality::Bad,
                    ..origin.clone()
                }),
                good: Arc::new(origin),
                due: now,
                count: 0,
            }
        };
        slave.group.iter().map(group).collect::<Vec<_>>()
    };
    section.slave.iter().flat_map(of_slave).collect()
}

/// The fewest requests that cover `fields` without reading a gap of more than `max_gap`.
pub(super) fn requests(fields: &[FieldSection], function: u8, max_gap: u16) -> Vec<Request> {
    let most = if function <= 2 {
        BITS_MAX
    } else {
        REGISTERS_MAX
    };
    let mut wanted: Vec<(u16, u16)> = fields
        .iter()
        .map(|field| (field.address, field.registers(function)))
        .collect();
    wanted.sort_unstable();
    let mut requests: Vec<Request> = Vec::new();
    for (address, count) in wanted {
        if let Some(last) = requests.last_mut() {
            let end = u32::from(last.address) + u32::from(last.count);
            let reach = u32::from(address) + u32::from(count);
            let joined = reach.max(end) - u32::from(last.address);
            if u32::from(address) <= end + u32::from(max_gap) && joined <= u32::from(most) {
                last.count = u16::try_from(joined).unwrap_or(most);
                continue;
            }
        }
        requests.push(Request {
            function,
            address,
            count,
        });
    }
    requests
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(addresses: &[u16]) -> Vec<FieldSection> {
        let field = |address| {
            toml::from_str(&format!(
                "name = \"x\"\naddress = {address}\ntype = \"u32\""
            ))
            .unwrap()
        };
        addresses.iter().map(field).collect()
    }

    #[test]
    fn neighbours_are_read_in_one_request_and_far_ones_are_not() {
        let read = |addresses: &[u16], gap| {
            let requests = requests(&fields(addresses), 3, gap);
            requests
                .iter()
                .map(|request| (request.address, request.count))
                .collect::<Vec<_>>()
        };
        assert_eq!(read(&[4, 0, 2], 0), [(0, 6)]);
        assert_eq!(read(&[0, 6], 4), [(0, 8)]);
        assert_eq!(read(&[0, 6], 3), [(0, 2), (6, 2)]);
        assert_eq!(read(&[0, 122, 124], 200), [(0, 124), (124, 2)]);
    }

    proptest! {
        #[test]
        fn every_field_lies_whole_in_one_request_of_legal_size(addresses in prop::collection::vec(0u16..600, 1..40), gap in 0u16..50) {
            let requests = requests(&fields(&addresses), 3, gap);
            for address in addresses {
                let covers = |r: &Request| r.address <= address && address + 2 <= r.address + r.count;
                prop_assert!(requests.iter().any(covers));
            }
            prop_assert!(requests.iter().all(|request| request.count <= REGISTERS_MAX));
        }
    }
}
