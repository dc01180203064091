//! Whether password hashes can be used.

use std::collections::BTreeMap;
use std::str::FromStr;

use bcrypt::HashParts;

/// Refuses hashes that no password could ever match.
pub(super) fn check(
    users: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    for (user, hash) in users {
        if hash.len() < HASH {
            return Err(format!(
                "user {user:?}: crypto/bcrypt: hashedSecret too short to be a bcrypted password"
            ));
        }
        let parts = HashParts::from_str(hash)
            .map_err(|error| format!("user {user:?}: not a bcrypt hash: {error}"))?;
        match parts.get_cost() {
            0..LEAST => return Err(format!("user {user:?}: a bcrypt cost below {LEAST}")),
            SLOW..=MOST => warnings.push(format!("user {user:?}: each login takes seconds")),
            cost if cost > MOST => {
                return Err(format!(
                    "user {user:?}: a bcrypt cost of {cost} takes minutes a login"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The length of every bcrypt hash.
const HASH: usize = 60;

/// The least cost that bcrypt has.
const LEAST: u32 = 4;

/// From here on a login takes more than a second.
const SLOW: u32 = 15;

/// Beyond this no login is answered within any scrape timeout.
const MOST: u32 = 18;
