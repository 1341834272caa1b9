//! What a message costs of its sender's buffer (SO_SNDBUF): not its length, but the memory that Linux would use for it. How much a program
//! can write before it has to wait follows from it, and SIOCOUTQ shows it.

const PAGE: usize = 4096;
/// `sizeof(struct sk_buff)` and `sizeof(struct skb_shared_info)`, aligned.
const RECORD: usize = 256;
const SHARED: usize = 320;
/// Most bytes in the head of a buffer of one page, and of four (`SKB_MAX_HEAD(0)`, `SKB_MAX_ALLOC`).
const ONE_PAGE: usize = PAGE - SHARED;
const FOUR_PAGES: usize = 4 * PAGE - SHARED;
/// Most bytes of a stream in pages of their own (`UNIX_SKB_FRAGS_SZ`), and most pages of a datagram (`MAX_SKB_FRAGS`).
const STREAM_PAGES: usize = 32768;
const MOST_PAGES: usize = 17;

/// A head of so many bytes, as the allocator rounds it.
fn head(len: usize) -> usize {
    (len.next_multiple_of(64) + SHARED).next_power_of_two().max(512) + RECORD
}

/// The cost of a datagram.
pub fn datagram(len: usize) -> usize {
    let in_pages = len.saturating_sub(FOUR_PAGES).min(MOST_PAGES * PAGE).next_multiple_of(PAGE);
    head(len - in_pages.min(len)) + in_pages
}

/// How many of `len` bytes go into one buffer of a stream, and what that costs. `limit` is SO_SNDBUF.
#[inline]
pub fn stream(len: usize, limit: usize) -> (usize, usize) {
    // Most writes are short.
    if len <= 192 && limit >= 2048 {
        return (len, 512 + RECORD);
    }
    let len = len.min((limit >> 1).saturating_sub(64)).min(ONE_PAGE + STREAM_PAGES);
    let in_pages = len.min(len.saturating_sub(ONE_PAGE).next_multiple_of(PAGE));
    (len, head(len - in_pages) + in_pages.next_multiple_of(PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read from Linux 6.18 by SIOCOUTQ after one send.
    #[test]
    fn as_linux_counts() {
        for (len, cost) in [
            (0, 768),
            (128, 768),
            (256, 1280),
            (704, 1280),
            (705, 2304),
            (1728, 2304),
            (1729, 4352),
            (3776, 4352),
            (3777, 8448),
            (16064, 16640),
            (16065, 20736),
            (36544, 37120),
            (36545, 41216),
            (50000, 53504),
            (106_431, 135_424),
            (150_000, 200_960),
            (212_960, 332_032),
        ] {
            assert_eq!(datagram(len), cost, "{len}");
        }
        for (len, cost) in [
            (1, 768),
            (192, 768),
            (193, 1280),
            (704, 1280),
            (3776, 4352),
            (3777, 4864),
            (5000, 6400),
            (8000, 8960),
            (10000, 12544),
            (16065, 17152),
            (36544, 37120),
        ] {
            assert_eq!(stream(len, 212_992), (len, cost), "{len}");
        }
        // A long write goes into several.
        for (len, total, written) in
            [(36545, 37888, 36545), (50000, 51712, 50000), (300_000, 222_720, 219_264)]
        {
            let (mut at, mut cost) = (0, 0);
            while at < len && cost < 212_992 {
                let piece = stream(len - at, 212_992);
                at += piece.0;
                cost += piece.1;
            }
            assert_eq!((at, cost), (written, total));
        }
    }

    #[test]
    fn small_buffers_take_small_pieces() {
        assert_eq!(stream(10_000, 4608).0, 2240);
        assert_eq!(stream(100, 4608), (100, 768));
    }
}
