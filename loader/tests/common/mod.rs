//! What holds of every plan, whatever the file: shared by the property tests and the fuzz target.

use loader::{Image, Kind, PAGE_SIZE, USER_TOP};

fn is_page(address: u64) -> bool {
    address.is_multiple_of(PAGE_SIZE)
}

/// Fails if a plan breaks a promise that `loader::Image` and `loader::Segment` make.
pub(crate) fn check(image: &Image) {
    assert!(!image.segments.is_empty());
    assert!(image.align.is_power_of_two() && image.align >= PAGE_SIZE);
    assert!(matches!(image.kind, Kind::Fixed | Kind::Relocatable));
    for segment in &image.segments {
        for address in [segment.start, segment.file_end, segment.end, segment.offset, segment.zero_end] {
            assert!(is_page(address), "{segment:x?}");
        }
        assert!(segment.start <= segment.file_end && segment.file_end <= segment.end, "{segment:x?}");
        assert!(segment.end <= USER_TOP, "{segment:x?}");
        assert!(image.low <= segment.start && segment.end <= image.high, "{image:x?}");
        // What is zeroed is the rest of the last page that comes from the file.
        assert_eq!(segment.zero_end, segment.file_end);
        assert!(segment.zero_start <= segment.zero_end && segment.zero_end - segment.zero_start < PAGE_SIZE);
        assert!(segment.zero_start >= segment.start);
        // Whoever maps it can add offset and length as file positions.
        let end = segment.offset.checked_add(segment.file_end - segment.start);
        assert!(end.is_some_and(|end| i64::try_from(end).is_ok()), "{segment:x?}");
    }
    assert!(image.segments.iter().any(|segment| segment.start == image.low));
    assert!(image.segments.iter().any(|segment| segment.end == image.high));
    assert!(
        image.brk <= image.high && image.high - image.brk < PAGE_SIZE || image.brk < image.high,
        "{image:x?}"
    );
    if let Some(path) = &image.interpreter {
        assert!(path.len() < 4096 && !path.contains(&0));
    }
}
