//! Tokens: JWTs (RFC 7519) that this gateway signs and nobody else.
//!
//! Since we are the only issuer, everything is pinned: the header has exactly our three fields, the
//! claims their types, the encoding its one canonical form. A session in the store must exist besides;
//! that is the resolver's business.

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto};
use prometheus::{IntCounter, IntCounterVec};
use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;
use crate::config::settings::{self, RANDOM_KEY};
use crate::policy::principal::{Account, is_id};
use crate::store::Session;
use crate::telemetry::metrics::Metrics;

/// Signs and verifies.
pub struct Tokens {
    issuer: String,
    ttl_s: u64,
    /// Replaced whole at a reload.
    keys: ArcSwap<Vec<Key>>,
    /// `token_verifications_total`
    verified: IntCounterVec,
}

struct Key {
    id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    verified: IntCounter,
}

/// The header that every token of ours has; any other field makes it none of ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnHeader<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    typ: Cow<'a, str>,
    #[serde(borrow)]
    kid: Cow<'a, str>,
}

/// What a token says.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Claims<'a> {
    /// The issuer's name.
    #[serde(borrow)]
    pub iss: Cow<'a, str>,
    /// The realm.
    #[serde(borrow)]
    pub aud: Cow<'a, str>,
    /// The account.
    #[serde(borrow)]
    pub sub: Cow<'a, str>,
    /// Its role at login.
    #[serde(borrow)]
    pub role: Cow<'a, str>,
    /// Its lineage at login.
    #[serde(borrow)]
    pub lineage: Cow<'a, str>,
    /// The session.
    #[serde(borrow)]
    pub jti: Cow<'a, str>,
    /// Seconds since the epoch.
    pub iat: u64,
    /// Seconds since the epoch.
    pub exp: u64,
    /// Never set by us; refused when it lies in the future.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
}

/// What a token is worth, its session aside.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ours and current.
    Good(Box<Claims<'static>>),
    /// Ours, and past its `exp`.
    Expired,
    /// Names a key of ours, but was not signed with it: a guess.
    Forged,
    /// Not ours; the text is the private cause.
    Bad(&'static str),
}

impl Tokens {
    /// From the settings; the first key signs.
    #[must_use]
    pub fn new(settings: &settings::Token, metrics: &Metrics) -> Self {
        let tokens = Self {
            issuer: settings.issuer.clone(),
            ttl_s: settings.ttl.as_secs(),
            keys: ArcSwap::default(),
            verified: metrics.token_verifications.clone(),
        };
        tokens.replace_keys(&settings.keys);
        tokens
    }

    /// Signs with the first of these from now on, and believes all of them and no other.
    pub fn replace_keys(&self, keys: &[(String, Secret)]) {
        let keys = keys.iter().map(|(id, secret)| Key {
            encoding: EncodingKey::from_secret(secret.reveal()),
            decoding: DecodingKey::from_secret(secret.reveal()),
            verified: self.verified.with_label_values(&[if id.starts_with(RANDOM_KEY) { "random" } else { id }]),
            id: id.clone(),
        });
        self.keys.store(Arc::new(keys.collect()));
    }

    /// Life of a token in seconds.
    #[must_use]
    pub const fn ttl_s(&self) -> u64 {
        self.ttl_s
    }

    /// A token for a session that begins now, and that session.
    ///
    /// # Errors
    /// The private cause, when no random id or no signature could be made.
    pub fn issue(&self, account: &Account, realm: &str, now_ms: u64) -> Result<(String, Session), &'static str> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| "no random bytes for a session id")?;
        let jti: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let (iat, lineage) = (now_ms / 1000, &account.lineage);
        let exp = iat + self.ttl_s;
        let claims = Claims {
            iss: self.issuer.as_str().into(),
            aud: realm.into(),
            sub: lineage.id().into(),
            role: lineage.role().into(),
            lineage: lineage.as_str().into(),
            jti: jti.as_str().into(),
            iat,
            exp,
            nbf: None,
        };
        let session = Session {
            jti: jti.as_str().into(),
            sub: lineage.id().into(),
            started: now_ms,
            expires: exp,
            password_mark: account.password_mark,
        };
        Ok((self.sign(&claims)?, session))
    }

    /// Signs any claims with the first key; `demo` makes its expired token with it.
    ///
    /// # Errors
    /// The private cause.
    pub fn sign(&self, claims: &Claims<'_>) -> Result<String, &'static str> {
        let keys = self.keys.load();
        let key = keys.first().ok_or("no token key")?;
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, claims, &key.encoding).map_err(|_| "the token could not be signed")
    }

    /// Judges a token for a realm at a time in seconds since the epoch. No leeway: issuer and judge read
    /// the same clock, the store's.
    #[must_use]
    pub fn verify(&self, token: &str, realm: &str, now: u64) -> Verdict {
        match self.read(token, realm, now) {
            Ok(claims) if claims.exp <= now => Verdict::Expired,
            Ok(claims) => Verdict::Good(Box::new(claims)),
            Err(verdict) => verdict,
        }
    }

    fn read(&self, token: &str, realm: &str, now: u64) -> Result<Claims<'static>, Verdict> {
        let (message, signature) = token.rsplit_once('.').ok_or(Verdict::Bad("not three parts"))?;
        let (header, payload) = message.split_once('.').ok_or(Verdict::Bad("not three parts"))?;
        if payload.contains('.') {
            return Err(Verdict::Bad("not three parts"));
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| Verdict::Bad("header is not canonical base64url"))?;
        let header: OwnHeader<'_> = serde_json::from_slice(&header).map_err(|_| Verdict::Bad("header is not ours"))?;
        if header.alg != "HS256" || header.typ != "JWT" {
            return Err(Verdict::Bad("alg or typ is not ours"));
        }
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.id == header.kid).ok_or(Verdict::Bad("unknown kid"))?;
        match crypto::verify(signature, message.as_bytes(), &key.decoding, Algorithm::HS256) {
            Ok(true) => key.verified.inc(),
            Ok(false) => return Err(Verdict::Forged),
            Err(_) => return Err(Verdict::Bad("signature is not canonical base64url")),
        }
        let payload =
            URL_SAFE_NO_PAD.decode(payload).map_err(|_| Verdict::Bad("claims are not canonical base64url"))?;
        let claims: Claims<'_> = serde_json::from_slice(&payload).map_err(|_| Verdict::Bad("claims are not ours"))?;
        if claims.iss != self.issuer {
            return Err(Verdict::Bad("foreign iss"));
        }
        if claims.aud != realm {
            return Err(Verdict::Bad("token of another realm"));
        }
        if !is_id(&claims.jti) || !is_id(&claims.sub) {
            return Err(Verdict::Bad("jti or sub is no id"));
        }
        if claims.nbf.is_some_and(|nbf| nbf > now) {
            return Err(Verdict::Bad("nbf lies in the future"));
        }
        Ok(claims.into_owned())
    }
}

impl Claims<'_> {
    fn into_owned(self) -> Claims<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Claims {
            iss: own(self.iss),
            aud: own(self.aud),
            sub: own(self.sub),
            role: own(self.role),
            lineage: own(self.lineage),
            jti: own(self.jti),
            iat: self.iat,
            exp: self.exp,
            nbf: self.nbf,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::principal::Lineage;

    fn tokens(keys: &[(&str, &str)]) -> Tokens {
        let keys = keys.iter().map(|(id, key)| ((*id).to_owned(), Secret::new(key.repeat(40).into_bytes()))).collect();
        let settings = settings::Token {
            issuer: "portcullis".into(),
            ttl: std::time::Duration::from_secs(1200),
            keys,
            cache: 16,
            stale: std::time::Duration::ZERO,
            sessions_per_account: 9,
        };
        Tokens::new(&settings, &Metrics::new().unwrap())
    }

    fn account() -> Account {
        let lineage = Lineage::new([("root", "administrator"), ("u", "user")]).unwrap();
        Account { lineage, suspended: false, password_mark: 0 }
    }

    fn forged(header: &str, claims: &str, key: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = EncodingKey::from_secret(key.repeat(40).as_bytes());
        let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }

    const HEADER: &str = r#"{"typ":"JWT","alg":"HS256","kid":"k"}"#;

    fn claims(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut claims = serde_json::json!({"iss":"portcullis","aud":"r","sub":"u","role":"user",
            "lineage":"root/u","jti":"j","iat":100,"exp":2000});
        change(&mut claims);
        claims.to_string()
    }

    #[test]
    fn what_is_issued_is_good_until_exp_and_not_a_second_longer() {
        let tokens = tokens(&[("k", "x")]);
        let (token, session) = tokens.issue(&account(), "r", 1_000_500).unwrap();
        assert_eq!((session.started, session.expires, session.jti.len()), (1_000_500, 2200, 32));
        let Verdict::Good(claims) = tokens.verify(&token, "r", 2199) else { panic!("refused") };
        assert_eq!((&*claims.sub, &*claims.lineage, &*claims.jti), ("u", "root/u", &*session.jti));
        assert_eq!(tokens.verify(&token, "r", 2200), Verdict::Expired);
        assert_eq!(tokens.verify(&token, "other", 1100), Verdict::Bad("token of another realm"));
    }

    #[test]
    fn every_key_verifies_and_the_first_signs() {
        let (old, both) = (tokens(&[("a", "x")]), tokens(&[("b", "y"), ("a", "x")]));
        let (token, _) = old.issue(&account(), "r", 0).unwrap();
        assert!(matches!(both.verify(&token, "r", 1), Verdict::Good(_)));
        let (token, _) = both.issue(&account(), "r", 0).unwrap();
        assert_eq!(old.verify(&token, "r", 1), Verdict::Bad("unknown kid"));
    }

    #[test]
    fn replaced_keys_sign_and_verify_at_once() {
        let tokens = tokens(&[("a", "x")]);
        let key = |id: &str, letter: &str| (id.to_owned(), Secret::new(letter.repeat(40).into_bytes()));
        let (old, _) = tokens.issue(&account(), "r", 0).unwrap();
        tokens.replace_keys(&[key("b", "y"), key("a", "x")]);
        let (new, _) = tokens.issue(&account(), "r", 0).unwrap();
        assert!(matches!(tokens.verify(&old, "r", 1), Verdict::Good(_)));
        tokens.replace_keys(&[key("b", "y")]);
        assert_eq!(tokens.verify(&old, "r", 1), Verdict::Bad("unknown kid"));
        assert!(matches!(tokens.verify(&new, "r", 1), Verdict::Good(_)));
    }

    #[test]
    fn headers_other_than_ours_are_refused() {
        let tokens = tokens(&[("k", "x")]);
        assert!(matches!(tokens.verify(&forged(HEADER, &claims(|_| {}), "x"), "r", 200), Verdict::Good(_)));
        for header in [
            r#"{"typ":"JWT","alg":"none","kid":"k"}"#,
            r#"{"typ":"JWT","alg":"HS512","kid":"k"}"#,
            r#"{"typ":"JWT","alg":["HS256"],"kid":"k"}"#,
            r#"{"typ":"JWT","alg":"HS256"}"#,
            r#"{"alg":"HS256","kid":"k"}"#,
            r#"{"typ":"reset+jwt","alg":"HS256","kid":"k"}"#,
            r#"{"typ":"JWT","alg":"HS256","kid":"k","crit":["x"]}"#,
            r#"{"typ":"JWT","alg":"HS256","kid":"k","zip":"DEF"}"#,
            r#"{"typ":"JWT","alg":"HS256","kid":"k","kid":"k"}"#,
            r#"{"typ":"JWT","alg":"HS256","kid":"../k"}"#,
            "[]",
        ] {
            assert!(
                matches!(tokens.verify(&forged(header, &claims(|_| {}), "x"), "r", 200), Verdict::Bad(_)),
                "{header}"
            );
        }
    }

    #[test]
    fn claims_of_another_type_or_value_are_refused() {
        let tokens = tokens(&[("k", "x")]);
        let changes: [fn(&mut serde_json::Value); 12] = [
            |c| c["exp"] = "9999999999".into(),
            |c| c["exp"] = serde_json::Value::Null,
            |c| c["iat"] = 1.5.into(),
            |c| c["nbf"] = "1".into(),
            |c| c["nbf"] = 300.into(),
            |c| c["iss"] = "other".into(),
            |c| c["aud"] = serde_json::json!(["r"]),
            |c| c["sub"] = 5.into(),
            |c| c["jti"] = "a b".into(),
            |c| c["jti"] = "a\r\nFLUSHALL".into(),
            |c| c["jti"] = "x".repeat(4096).into(),
            |c| c["role"] = serde_json::json!(["user"]),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let token = forged(HEADER, &claims(change), "x");
            assert!(matches!(tokens.verify(&token, "r", 200), Verdict::Bad(_)), "change {index}");
        }
        let twice = claims(|_| {}).replace("\"role\":\"user\"", "\"role\":\"user\",\"role\":\"administrator\"");
        for odd in [twice.as_str(), &"[".repeat(10_000), "{}", ""] {
            assert!(matches!(tokens.verify(&forged(HEADER, odd, "x"), "r", 200), Verdict::Bad(_)));
        }
    }

    #[test]
    fn only_the_canonical_text_of_a_token_is_good() {
        let tokens = tokens(&[("k", "x")]);
        let (token, _) = tokens.issue(&account(), "r", 0).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = alphabet.find(signature.chars().last().unwrap()).unwrap();
        let sibling = &alphabet[last ^ 1..=last ^ 1];
        let head = &signature[..signature.len() - 1];
        for odd in [
            format!("{message}.{head}{sibling}"),
            format!("{token}="),
            format!("{message}."),
            message.to_owned(),
            format!("{token}.a.b"),
            format!(".{token}"),
        ] {
            assert!(matches!(tokens.verify(&odd, "r", 200), Verdict::Bad(_) | Verdict::Forged), "{odd}");
        }
        assert_eq!(tokens.verify(&forged(HEADER, &claims(|_| {}), "y"), "r", 200), Verdict::Forged);
    }
}
