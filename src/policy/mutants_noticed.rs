//! Tests of mutants and witnesses.
