//! What the application tells CIM by the name of an event (CONTRACT sections 5 and 10).

/// An event that CIM acts upon, besides passing it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppSignal {
    /// The application has no configuration yet.
    NotConfigured,
    /// The application has its configuration.
    Configured,
    /// The application has shut itself down.
    ShutdownSuccess,
    /// The application could not shut itself down.
    ShutdownFailure,
}

impl AppSignal {
    /// What the event with this name tells; `None` for every other event.
    pub fn of(event_name: &[u8]) -> Option<Self> {
        match event_name {
            b"NotConfigured" => Some(Self::NotConfigured),
            b"Configured" => Some(Self::Configured),
            b"ShutdownSuccess" => Some(Self::ShutdownSuccess),
            b"ShutdownFailure" => Some(Self::ShutdownFailure),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Event;

    #[test]
    fn the_originals_buffers_tell_what_they_are_called_after() {
        for (buffer, signal) in [
            (
                &include_bytes!("../../tests/golden/7-day1/event_NotConfigured.fb")[..],
                Some(AppSignal::NotConfigured),
            ),
            (
                include_bytes!("../../tests/golden/7-day1/event_Configured.fb"),
                Some(AppSignal::Configured),
            ),
            (
                include_bytes!("../../tests/golden/1-inputs/event_full.fb"),
                None,
            ),
        ] {
            let event = Event::read(buffer).unwrap();
            assert_eq!(AppSignal::of(event.event_name), signal);
        }
    }

    #[test]
    fn only_the_whole_name_counts() {
        for (name, signal) in [
            (&b"ShutdownSuccess"[..], Some(AppSignal::ShutdownSuccess)),
            (b"ShutdownFailure", Some(AppSignal::ShutdownFailure)),
            (b"", None),
            (b"configured", None),
            (b"Configured ", None),
            (b"Configured\0", None),
        ] {
            assert_eq!(AppSignal::of(name), signal);
        }
    }
}
