//! The bytes of a request head, read strictly.
//!
//! Called by the edge. Where parsers of the field disagree (bare LF, folded lines, blanks before a colon,
//! control characters) there is no reading at all, only a fault.

use std::ops::Range;

use crate::config::settings::Limits;
use crate::policy::facts::{Fault, Fields, is_tchar};
use crate::reason::Reason;

/// A head whose bytes have one reading; what it means is judged elsewhere.
#[derive(Debug, Default)]
pub struct RawHead {
    /// The head with its field names in lower case.
    text: Vec<u8>,
    method: Range<usize>,
    target: Range<usize>,
    lines: Vec<(Range<usize>, Range<usize>)>,
    /// HTTP/1.0 rather than HTTP/1.1.
    pub http_10: bool,
}

/// How far a head has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its end is not there yet.
    More,
    /// It ends before this byte.
    Ends(usize),
}

/// No field of any specification comes near it, and the carrier has a bound of its own.
const LONGEST_NAME: usize = 1 << 10;

const fn malformed(cause: &'static str) -> Fault {
    Fault { reason: Reason::RequestMalformed, cause }
}

/// Looks for the end of a head from `seen` on, and refuses what is too long or has a bare LF.
///
/// # Errors
/// Why the head is refused before its end.
pub fn progress(bytes: &[u8], seen: usize, limits: &Limits) -> Result<Progress, Fault> {
    for index in memchr::memchr_iter(b'\n', &bytes[seen..]).map(|offset| seen + offset) {
        if index == 0 || bytes[index - 1] != b'\r' {
            return Err(malformed("a line ends with a bare LF"));
        }
        if bytes[..index - 1].ends_with(b"\r\n") {
            return if index < limits.head_size { Ok(Progress::Ends(index + 1)) } else { Err(too_long(bytes)) };
        }
    }
    if bytes.len() > limits.head_size { Err(too_long(bytes)) } else { Ok(Progress::More) }
}

fn too_long(bytes: &[u8]) -> Fault {
    if memchr::memchr(b'\n', bytes).is_some() {
        Fault { reason: Reason::HeadersTooLarge, cause: "the head is longer than head_size" }
    } else {
        Fault { reason: Reason::UriTooLong, cause: "the request line is longer than head_size" }
    }
}

impl RawHead {
    /// Reads a whole head, the empty line at its end included.
    ///
    /// # Errors
    /// Why it has no single reading. The head keeps what was read until then, for the log.
    pub fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), Fault> {
        self.forget();
        self.text.extend_from_slice(bytes);
        let mut start = self.request_line(limits)?;
        loop {
            let end = self.line_end(start)?;
            if end == start {
                // HTTP/1.0 has no codings: RFC 9112 section 6.1 calls the message faulty.
                let coded = self.http_10 && self.first("transfer-encoding").is_some();
                return if coded { Err(malformed("Transfer-Encoding in HTTP/1.0")) } else { Ok(()) };
            }
            if self.lines.len() == limits.head_lines {
                return Err(Fault { reason: Reason::HeadersTooLarge, cause: "more field lines than head_lines" });
            }
            self.field_line(start, end)?;
            start = end + 2;
        }
    }

    /// Keeps the buffers and nothing of what was in them.
    pub fn forget(&mut self) {
        self.text.clear();
        self.lines.clear();
        (self.method, self.target, self.http_10) = (0..0, 0..0, false);
    }

    /// The end of the line that starts here; every line ends with CR LF, seen to by `progress`.
    fn line_end(&self, start: usize) -> Result<usize, Fault> {
        let rest = self.text.get(start..).unwrap_or_default();
        let length = memchr::memchr(b'\n', rest).ok_or(malformed("the head has no end"))?;
        Ok(start + length.saturating_sub(1))
    }

    fn request_line(&mut self, limits: &Limits) -> Result<usize, Fault> {
        let end = self.line_end(0)?;
        let line = &self.text[..end];
        let first = memchr::memchr(b' ', line).ok_or(malformed("the request line has no target"))?;
        let last = memchr::memrchr(b' ', line).filter(|last| *last > first);
        let last = last.ok_or(malformed("the request line has no version"))?;
        (self.method, self.target) = (0..first, first + 1..last);
        if first == 0 || !line[..first].iter().copied().all(is_tchar) {
            return Err(malformed("the method is no token"));
        }
        self.http_10 = match &line[last + 1..] {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(malformed("the version is neither HTTP/1.1 nor HTTP/1.0")),
        };
        if self.target.len() > limits.target_size {
            return Err(Fault { reason: Reason::UriTooLong, cause: "the target is longer than target_size" });
        }
        Ok(end + 2)
    }

    fn field_line(&mut self, start: usize, end: usize) -> Result<(), Fault> {
        let line = &mut self.text[start..end];
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(malformed("a folded line"));
        }
        let colon = memchr::memchr(b':', line).ok_or(malformed("a line without a colon"))?;
        let (name, value) = line.split_at_mut(colon);
        if name.is_empty() || !name.iter().copied().all(is_tchar) {
            return Err(malformed("a field name is no token"));
        }
        if name.len() > LONGEST_NAME {
            return Err(Fault { reason: Reason::HeadersTooLarge, cause: "a field name is longer than 1 KiB" });
        }
        // Without branches, so that it runs over many bytes at a time.
        let control = |byte: u8| ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f);
        if value.iter().fold(false, |bad, byte| bad | control(*byte)) {
            return Err(malformed("a field value has a control character"));
        }
        name.make_ascii_lowercase();
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let value = &value[1..];
        let front = value.iter().take_while(|byte| blank(byte)).count();
        let back = value[front..].iter().rev().take_while(|byte| blank(byte)).count();
        let from = start + colon + 1 + front;
        self.lines.push((start..start + colon, from..end - back));
        Ok(())
    }

    /// How many bytes it took, the empty line at its end included.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.text.len() as u64
    }

    /// The method's name, `-` when it could not be read.
    #[must_use]
    pub fn method(&self) -> &str {
        self.token(&self.method).unwrap_or("-")
    }

    fn token(&self, range: &Range<usize>) -> Option<&str> {
        let bytes =
            self.text.get(range.clone()).filter(|bytes| !bytes.is_empty() && bytes.iter().copied().all(is_tchar))?;
        std::str::from_utf8(bytes).ok()
    }

    /// The raw target; empty when it could not be read.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.text.get(self.target.clone()).unwrap_or_default()
    }
}

impl Fields for RawHead {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8])) {
        for (name, value) in &self.lines {
            // Names are tokens, so they are text.
            visit(std::str::from_utf8(&self.text[name.clone()]).unwrap_or_default(), &self.text[value.clone()]);
        }
    }

    fn values<'a>(&'a self, name: &str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        let name = name.as_bytes().to_vec();
        let lines = self.lines.iter().filter(move |(known, _)| self.text[known.clone()] == *name);
        Box::new(lines.map(|(_, value)| &self.text[value.clone()]))
    }

    fn first(&self, name: &str) -> Option<&[u8]> {
        let line = self.lines.iter().find(|(known, _)| self.text[known.clone()] == *name.as_bytes());
        line.map(|(_, value)| &self.text[value.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<RawHead, Fault> {
        let limits = Limits::default();
        match progress(text, 0, &limits)? {
            Progress::More => panic!("no end"),
            Progress::Ends(end) => {
                let mut head = RawHead::default();
                head.read(&text[..end], &limits).map(|()| head)
            }
        }
    }

    #[test]
    fn a_head_is_read_with_lower_case_names_and_trimmed_values() {
        let head = read(b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-Two:\t a b \t\r\nX-Two: \xff\r\n\r\nbody").unwrap();
        assert_eq!((head.method(), head.target(), head.http_10), ("GET", &b"/a?b"[..], false));
        assert_eq!(head.first("host"), Some(&b"x"[..]));
        assert_eq!(head.values("x-two").collect::<Vec<_>>(), [&b"a b"[..], b"\xff"]);
        assert_eq!(head.first("x"), None);
    }

    #[test]
    fn heads_with_two_readings_are_refused() {
        for text in [
            &b"GET / HTTP/1.1\nHost: x\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: \0\r\n\r\n",
            b"GET / HTTP/1.1\r\nnocolon\r\n\r\n",
            b"GET / HTTP/1.1\r\nX(A): 1\r\n\r\n",
            b"GET / HTTP/1.1\r\nX\x85: 1\r\n\r\n",
            b"GET / HTTP/1.1\r\n: 1\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET /\r\n\r\n",
            b"G=\"T / HTTP/1.1\r\n\r\n",
            b" / HTTP/1.1\r\n\r\n",
            b"GET  HTTP/1.1 \r\n\r\n",
            b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(read(text).is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn limits_have_their_own_reasons() {
        let limits = Limits { head_size: 256, head_lines: 3, target_size: 64, ..Limits::default() };
        let reason = |text: &[u8]| match progress(text, 0, &limits) {
            Err(fault) => fault.reason,
            Ok(Progress::Ends(end)) => RawHead::default().read(&text[..end], &limits).unwrap_err().reason,
            Ok(Progress::More) => panic!("no end"),
        };
        assert_eq!(reason(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64)).as_bytes()), Reason::UriTooLong);
        assert_eq!(reason("a".repeat(257).as_bytes()), Reason::UriTooLong);
        assert_eq!(reason(format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(256)).as_bytes()), Reason::HeadersTooLarge);
        assert_eq!(reason(b"GET / HTTP/1.1\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\n\r\n"), Reason::HeadersTooLarge);
        assert_eq!(progress(b"GET / HTTP/1.1\r\nA: b\r\n", 0, &limits), Ok(Progress::More));
    }
}
