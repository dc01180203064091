//! The pages for people, in a real Chromium: what they show, how they are used, whether everybody can.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../fixture/mod.rs"]
#[allow(dead_code)]
mod fixture;
#[path = "../support/mod.rs"]
mod support;

mod access;
mod browser;
mod host;
mod large;
mod machine;
mod status;
mod unit;
