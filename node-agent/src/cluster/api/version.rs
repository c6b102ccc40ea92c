//! Versions of objects and lists (`metadata.resourceVersion`).

use std::sync::Arc;

/// A version: of an object nothing is read from it but whether another is the same.
///
/// Servers write numbers, and a hundred thousand of them had better be no texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// A number, written in the one way that numbers usually are.
    Number(u64),
    /// Whatever else.
    Text(Arc<str>),
}

const _: () = assert!(size_of::<Version>() == 16);

impl Version {
    /// Whether it is certainly older than another of the same kind: servers count upwards.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one < other,
            (Self::Text(_), _) | (_, Self::Text(_)) => false,
        }
    }
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        let is_usual = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
        match text.parse() {
            Ok(number) if is_usual => Self::Number(number),
            _ => Self::Text(text.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_same_when_they_are_written_the_same() {
        let texts = [
            "",
            "0",
            "00",
            "7",
            "07",
            "+7",
            "-7",
            "7 ",
            "7.0",
            "70",
            "seven",
            "18446744073709551615",
            "18446744073709551616",
        ];
        for one in texts {
            for other in texts {
                let is_before = Version::from(one).is_before(&Version::from(other));
                let wanted = [("0", "7"), ("0", "70"), ("7", "70")].contains(&(one, other))
                    || other == "18446744073709551615" && ["0", "7", "70"].contains(&one);
                assert_eq!(is_before, wanted, "{one:?} and {other:?}");
                let are_same = Version::from(one) == Version::from(other);
                assert_eq!(are_same, one == other, "{one:?} and {other:?}");
            }
        }
    }
}
