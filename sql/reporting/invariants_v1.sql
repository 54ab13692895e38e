-- Invariants are not of one project, so only a role that sees all projects has rows here.
create or replace view reporting.invariants_v1 with (security_barrier) as
select checked.invariant, checked.breaches, checked.breaches = 0 as holds
  from (select '01_one_row_per_carrier_message' as invariant, (select count(*) from (select from invariant_01_one_row_per_carrier_message limit 100) breach) as breaches
          union all
          select '02_one_session_not_closed', (select count(*) from (select from invariant_02_one_session_not_closed limit 100) breach)
          union all
          select '03_no_message_forgotten', (select count(*) from (select from invariant_03_no_message_forgotten limit 100) breach)
          union all
          select '04_no_turn_without_an_open_session', (select count(*) from (select from invariant_04_no_turn_without_an_open_session limit 100) breach)
          union all
          select '05_a_reply_has_its_turn_and_its_delivery', (select count(*) from (select from invariant_05_a_reply_has_its_turn_and_its_delivery limit 100) breach)
          union all
          select '06_no_delivery_in_the_dark', (select count(*) from (select from invariant_06_no_delivery_in_the_dark limit 100) breach)
          union all
          select '07_no_delivery_to_who_opted_out', (select count(*) from (select from invariant_07_no_delivery_to_who_opted_out limit 100) breach)
          union all
          select '08_no_warning_after_a_reply', (select count(*) from (select from invariant_08_no_warning_after_a_reply limit 100) breach)
          union all
          select '09_one_warning_and_one_end', (select count(*) from (select from invariant_09_one_warning_and_one_end limit 100) breach)
          union all
          select '10_no_time_from_the_future', (select count(*) from (select from invariant_10_no_time_from_the_future limit 100) breach)
          union all
          select '11_every_row_has_what_it_belongs_to', (select count(*) from (select from invariant_11_every_row_has_what_it_belongs_to limit 100) breach)
          union all
          select '12_what_is_drawn_next_is_new', (select count(*) from (select from invariant_12_what_is_drawn_next_is_new limit 100) breach)) checked
 where (select sees_all_projects(current_user))
   and coalesce(current_setting('textback.reporting_project', true), '') = '';

comment on view reporting.invariants_v1 is 'One row for each rule that must always hold, for roles that see all projects. It is heavy, because some rules read whole tables: select one invariant at a time, and not on each refresh of a dashboard.';
comment on column reporting.invariants_v1.invariant is 'Name of the rule: that of its view, without invariant_.';
comment on column reporting.invariants_v1.breaches is 'Count of rows that break the rule, 100 at most. 0: the rule holds.';
comment on column reporting.invariants_v1.holds is 'Whether the rule holds.';
