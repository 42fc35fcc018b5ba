//! Black-box tests: the real binary, a real mosquitto, a real Apache Kafka, real pseudo-terminals.
//! Each test is an incident; what is looked at is only what comes out.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod rig;

mod peers;

mod foreign;

mod arrivals;

mod outages;

mod mends;

mod topics;
mod unchanged;
mod waves;

mod refusals;

mod errors;

mod evidence;

mod codes;

mod times;

mod machine;

mod clocks;

mod allowances;

mod inputs;

mod limits;

mod pause;

mod brokers;

mod properties;
mod recipes;

mod bursts;

mod followed;

mod lines;

mod adapters;

mod rollout;
mod signed;

mod signals;

mod owners;

mod encryption;

mod large;
mod layers;

mod keeping;

mod disks;

mod faults;

mod hung;

mod buses;

mod doctor;

mod sunspec;

mod security;

mod rotations;

mod origin;

mod pulled;

mod moves;

mod hostile;

mod forged;

mod install;

mod configuration;

mod mistakes;

mod acts;
mod addresses;

mod manners;
mod maps;

mod devices;

mod operator;

mod parts;

mod tidy;
