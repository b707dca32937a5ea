//! Tests of `limits`: a virtual clock, quotas made here, a store in memory.
