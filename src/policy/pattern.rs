//! Path patterns and which of two is more specific.
//!
//! `/customers/{customer_id}/files/{*rest}`: literal segments, `{name}` for one segment of at least
//! one character, `{*rest}` for one or more segments at the end. A trailing slash is another path.

use super::uri::parse_target;

/// The most parameters a pattern may have.
pub const MAX_PARAMETERS: usize = 8;

/// The most segments a pattern may have.
pub const MAX_SEGMENTS: usize = 64;

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Matches itself, byte by byte.
    Literal(Box<str>),
    /// `{name}`: any one segment of at least one character.
    Parameter(Box<str>),
    /// `{*name}`: one or more segments; only at the end.
    Rest(Box<str>),
}

/// How specific a segment is: a literal beats a parameter beats the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A literal segment.
    Literal,
    /// One segment, whatever it is.
    Parameter,
    /// Everything from here on.
    Rest,
}

/// Which of two patterns that match one path wins: the smaller one, compared segment by segment from
/// the left. Two patterns of equal precedence that match one path are the same pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence(Box<[Rank]>);

/// A parsed path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Box<[Segment]>,
}

/// Why a text is no pattern; the message is for operators.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PatternError {
    #[error("a pattern starts with `/`")]
    NoSlash,
    #[error("{0}, so no request could ever match")]
    Unmatchable(&'static str),
    #[error("a parameter is a whole segment, `{{name}}` or `{{*rest}}` with letters, digits and `_`")]
    Parameter,
    #[error("`{{*{0}}}` matches the rest of the path, so it must come last")]
    RestNotLast(String),
    #[error("parameter `{0}` stands twice")]
    Repeated(String),
    #[error("more than {MAX_PARAMETERS} parameters")]
    TooMany,
    #[error("more than {MAX_SEGMENTS} segments")]
    TooLong,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// What is wrong with it, for an operator.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let inside = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        let pieces: Vec<&str> = inside.split('/').collect();
        if pieces.len() > MAX_SEGMENTS {
            return Err(PatternError::TooLong);
        }
        let mut segments: Vec<Segment> = Vec::with_capacity(pieces.len());
        for (index, piece) in pieces.iter().enumerate() {
            let segment = parse_segment(piece)?;
            if let Segment::Rest(name) = &segment
                && index + 1 != pieces.len()
            {
                return Err(PatternError::RestNotLast(name.to_string()));
            }
            if let Some(name) = segment.parameter()
                && segments.iter().any(|known| known.parameter() == Some(name))
            {
                return Err(PatternError::Repeated(name.to_owned()));
            }
            segments.push(segment);
        }
        if segments.iter().filter(|segment| segment.parameter().is_some()).count() > MAX_PARAMETERS {
            return Err(PatternError::TooMany);
        }
        let sample: String = segments.iter().map(Segment::sample).collect();
        parse_target(sample.as_bytes()).map_err(PatternError::Unmatchable)?;
        if sample.contains('?') {
            return Err(PatternError::Unmatchable("a path has no `?`"));
        }
        Ok(Self { segments: segments.into() })
    }

    /// The segments, from the left.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The place of a parameter among the pattern's parameters.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<usize> {
        self.segments.iter().filter_map(Segment::parameter).position(|known| known == name)
    }

    /// How specific the pattern is.
    #[must_use]
    pub fn precedence(&self) -> Precedence {
        Precedence(self.segments.iter().map(Segment::rank).collect())
    }

    /// Whether the path matches. The route table does this for many patterns at once; this is for
    /// tests and tools.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(inside) = path.strip_prefix('/') else { return false };
        let mut pieces = inside.split('/');
        for segment in &self.segments {
            let Some(piece) = pieces.next() else { return false };
            match segment {
                Segment::Literal(text) if **text == *piece => {}
                Segment::Parameter(_) if !piece.is_empty() => {}
                Segment::Rest(_) => return !piece.is_empty(),
                Segment::Literal(_) | Segment::Parameter(_) => return false,
            }
        }
        pieces.next().is_none()
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.segments.iter().try_for_each(|segment| segment.fmt(f))
    }
}

impl std::fmt::Display for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::Parameter(name) => write!(f, "/{{{name}}}"),
            Segment::Rest(name) => write!(f, "/{{*{name}}}"),
        }
    }
}

impl Segment {
    /// The name of the parameter, if it is one.
    #[must_use]
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Segment::Literal(_) => None,
            Segment::Parameter(name) | Segment::Rest(name) => Some(name),
        }
    }

    const fn rank(&self) -> Rank {
        match self {
            Segment::Literal(_) => Rank::Literal,
            Segment::Parameter(_) => Rank::Parameter,
            Segment::Rest(_) => Rank::Rest,
        }
    }

    fn sample(&self) -> String {
        match self {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Parameter(_) | Segment::Rest(_) => "/x".to_owned(),
        }
    }
}

fn parse_segment(piece: &str) -> Result<Segment, PatternError> {
    if let Some(name) = piece.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let (name, rest) = name.strip_prefix('*').map_or((name, false), |name| (name, true));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(PatternError::Parameter);
        }
        return Ok(if rest { Segment::Rest(name.into()) } else { Segment::Parameter(name.into()) });
    }
    if piece.contains(['{', '}']) {
        return Err(PatternError::Parameter);
    }
    Ok(Segment::Literal(piece.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn literal_beats_parameter_beats_rest_from_the_left() {
        let order = ["/a/b/c", "/a/b/{x}", "/a/b/{*x}", "/a/{x}/c", "/a/{*x}", "/{x}/b/c", "/{*x}"];
        for pair in order.windows(2) {
            assert!(pattern(pair[0]).precedence() < pattern(pair[1]).precedence(), "{pair:?}");
        }
        assert_eq!(pattern("/a/{x}").precedence(), pattern("/b/{y}").precedence());
    }

    #[test]
    fn patterns_match_whole_segments() {
        for (text, path, expected) in [
            ("/a/{x}", "/a/b", true),
            ("/a/{x}", "/a/", false),
            ("/a/{x}", "/a/b/", false),
            ("/a/{*x}", "/a/b/c/", true),
            ("/a/{*x}", "/a/", false),
            ("/a/{*x}", "/a", false),
            ("/a", "/a/", false),
            ("/a/", "/a/", true),
            ("/", "/", true),
            ("/a", "/A", false),
        ] {
            assert_eq!(pattern(text).matches(path), expected, "{text} {path}");
        }
    }

    #[test]
    fn what_could_never_match_is_no_pattern() {
        for text in [
            "a", "/a//b", "/a/../b", "/a;b", "/%61", "/a{x}", "/{x}y", "/{}", "/{*}", "/{*x}/a", "/{x}/{x}", "/a?b",
            "/a b",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert_eq!(pattern("/a/{b}/{*c}").to_string(), "/a/{b}/{*c}");
    }
}
