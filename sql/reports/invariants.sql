-- Invariants
-- Whether each rule that must always hold does, for roles that see all projects. It reads whole tables, so don't refresh it often.
-- chart: table
-- invariant (text): Name of the rule.
-- breaches (count): Rows that break the rule, 100 at most.
-- holds (whether): Whether the rule holds.

select invariant, breaches, holds from reporting.invariants_v1 order by holds, invariant;
