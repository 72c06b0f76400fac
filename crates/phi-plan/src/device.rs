/// A machine people have: what it leaves for a program, and how fast it reads.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Device {
    /// The name to ask for it by.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Memory that is left, in MiB: less than the label says, which counts the system and a desktop or browser.
    pub ram_mib: u64,
    /// The graphics card's memory, in GiB, as the label says.
    pub vram_gib: Option<u64>,
    /// Bytes a second that decoding can expect of where the weights are, in GB/s: assumed from published measurements
    /// of the memory, not measured with this program.
    pub gb_per_s: f64,
}

impl Device {
    /// Every device.
    pub const ALL: &'static [Device] = &[
        device("pi4-4gb", "Raspberry Pi 4, 4 GB, no desktop", 3000, None, 4.0),
        device("pi4-8gb", "Raspberry Pi 4, 8 GB, no desktop", 7000, None, 4.0),
        device("pi5-4gb", "Raspberry Pi 5, 4 GB, no desktop", 3000, None, 10.0),
        device("pi5-8gb", "Raspberry Pi 5, 8 GB, no desktop", 7000, None, 10.0),
        device("pi5-16gb", "Raspberry Pi 5, 16 GB, no desktop", 15_000, None, 10.0),
        device("phone-8gb", "a phone with 8 GB, half of it taken", 4000, None, 25.0),
        device("laptop-8gb", "a laptop with 8 GB and a browser open", 4500, None, 35.0),
        device("laptop-16gb", "a laptop with 16 GB and a browser open", 12_000, None, 40.0),
        device("laptop-32gb", "a laptop with 32 GB and a browser open", 27_000, None, 60.0),
        device("rtx3060-12gb", "a desktop with an RTX 3060, 12 GB", 27_000, Some(12), 330.0),
        device("rtx4060-8gb", "a desktop with an RTX 4060, 8 GB", 27_000, Some(8), 250.0),
        device("rtx4090-24gb", "a desktop with an RTX 4090, 24 GB", 59_000, Some(24), 930.0),
    ];

    /// The device of this name, in any case.
    pub fn find(name: &str) -> Option<Device> {
        Device::ALL.iter().copied().find(|device| device.name.eq_ignore_ascii_case(name))
    }
}

const fn device(name: &'static str, what: &'static str, ram_mib: u64, vram_gib: Option<u64>, gb_per_s: f64) -> Device {
    Device { name, what, ram_mib, vram_gib, gb_per_s }
}
