//! A bad configuration never reaches a running gateway without being named.
