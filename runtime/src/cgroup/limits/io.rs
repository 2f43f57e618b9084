//! Block devices, network classes, RDMA, and v2 files by their own names.

use std::path::Path;

use super::{LimitError, Place, Planner, wish};
use crate::plan::{RdmaLimit, Resources, ThrottleKind, WeightDevice};

/// bfq keeps v1's scale up to 1000; io.weight goes from 1 to 10000.
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

fn choices(names: [&str; 2], values: [String; 2]) -> Vec<(String, String)> {
    names.map(str::to_owned).into_iter().zip(values).collect()
}

impl Planner<'_> {
    pub(super) fn block_io(&mut self, r: &Resources) -> Result<(), LimitError> {
        if let Some(weight) = r.blkio_weight.filter(|weight| *weight != 0) {
            let wish = self.name(wish::WEIGHT);
            let plain = weight.to_string();
            let (at, choices) = match self.place(wish, "blkio")? {
                Place::V1(at) => {
                    (at, choices(["blkio.weight", "blkio.bfq.weight"], [plain.clone(), plain]))
                }
                Place::V2(at) => {
                    let scaled = io_weight(weight).to_string();
                    (at, choices(["io.bfq.weight", "io.weight"], [plain, scaled]))
                }
            };
            self.push(Some(wish), &at, choices);
        }
        if let Some(weight) = r.blkio_leaf_weight.filter(|weight| *weight != 0) {
            self.v1_only(wish::LEAF_WEIGHT, "blkio", "blkio.leaf_weight", weight)?;
        }
        for of in &r.blkio_weight_devices {
            self.device_weight(of)?;
        }
        for throttle in &r.blkio_throttles {
            let (wish, v1, key) = match throttle.kind {
                ThrottleKind::ReadBps => (wish::READ_BPS, "read_bps", "rbps"),
                ThrottleKind::WriteBps => (wish::WRITE_BPS, "write_bps", "wbps"),
                ThrottleKind::ReadIops => (wish::READ_IOPS, "read_iops", "riops"),
                ThrottleKind::WriteIops => (wish::WRITE_IOPS, "write_iops", "wiops"),
            };
            let wish = self.name(wish);
            let (device, rate) = (throttle.device, throttle.rate);
            match self.place(wish, "blkio")? {
                Place::V1(at) => {
                    let file = format!("blkio.throttle.{v1}_device");
                    self.write(wish, &at, &file, format!("{device} {rate}"));
                }
                // 0 lifts the limit on v1, and is none of v2's numbers.
                Place::V2(at) if rate == 0 => {
                    self.write(wish, &at, "io.max", format!("{device} {key}=max"));
                }
                Place::V2(at) => self.write(wish, &at, "io.max", format!("{device} {key}={rate}")),
            }
        }
        Ok(())
    }

    fn device_weight(&mut self, of: &WeightDevice) -> Result<(), LimitError> {
        let (wish, device) = (self.name(wish::DEVICE_WEIGHT), of.device);
        if let Some(weight) = of.weight {
            let line = format!("{device} {weight}");
            let (at, choices) = match self.place(wish, "blkio")? {
                Place::V1(at) => {
                    let names = ["blkio.weight_device", "blkio.bfq.weight_device"];
                    (at, choices(names, [line.clone(), line]))
                }
                Place::V2(at) => {
                    let scaled = format!("{device} {}", io_weight(weight));
                    (at, choices(["io.bfq.weight", "io.weight"], [line, scaled]))
                }
            };
            self.push(Some(wish), &at, choices);
        }
        if let Some(weight) = of.leaf_weight {
            let line = format!("{device} {weight}");
            self.v1_only(wish::DEVICE_WEIGHT, "blkio", "blkio.leaf_weight_device", line)?;
        }
        Ok(())
    }

    pub(super) fn network(&mut self, r: &Resources) -> Result<(), LimitError> {
        if let Some(class) = r.network_class {
            self.v1_only(wish::CLASS, "net_cls", "net_cls.classid", class)?;
        }
        for (interface, priority) in &r.network_priorities {
            let line = format!("{interface} {priority}");
            self.v1_only(wish::PRIORITIES, "net_prio", "net_prio.ifpriomap", line)?;
        }
        Ok(())
    }

    pub(super) fn rdma(&mut self, r: &Resources) -> Result<(), LimitError> {
        let wish = self.name(wish::RDMA);
        for (device, limit) in &r.rdma {
            let RdmaLimit { handles, objects } = limit;
            let number = |n: &Option<u32>| n.map_or("max".to_owned(), |n| n.to_string());
            let (handles, objects) = (number(handles), number(objects));
            let line = format!("{device} hca_handle={handles} hca_object={objects}");
            match self.place(wish, "rdma")? {
                Place::V1(at) | Place::V2(at) => self.write(wish, &at, "rdma.max", line),
            }
        }
        Ok(())
    }

    /// Several lines are several writes: most files take one key at a time.
    pub(super) fn unified(&mut self, r: &Resources) -> Result<(), LimitError> {
        if r.unified.is_empty() {
            return Ok(());
        }
        let wish = self.name(wish::UNIFIED);
        let at = match (self.layout.v1.is_empty(), self.layout.unified_dir(Path::new(""))) {
            (true, Some(at)) => at,
            _ => return Err(LimitError::UnifiedOnV1 { wish }),
        };
        for (file, value) in &r.unified {
            let lines = value.strip_suffix('\n').unwrap_or(value);
            for line in lines.split('\n') {
                self.write(wish, &at, file, line);
            }
        }
        Ok(())
    }
}
