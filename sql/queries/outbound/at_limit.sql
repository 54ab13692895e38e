-- Projects that have reached a limit in the current window, with the number of contacts at the
-- limit. At most fifty.
select project.name, bound.name as "limit!: _", bound.most as "most!", count(*) as "contacts!",
       max(bound.began + bound.lasts) as "resets_at!"
  from outbound_rate_window rate
  join project on project.id = rate.project_id
 cross join lateral (values
       ('outbound_per_project_per_minute', interval '1 minute', project.outbound_per_project_per_minute, rate.short_began, rate.short_sent, true),
       ('outbound_per_project_per_day', interval '24 hours', project.outbound_per_project_per_day, rate.day_began, rate.day_sent, true),
       ('outbound_per_contact_per_hour', interval '1 hour', project.outbound_per_contact_per_hour, rate.short_began, rate.short_sent, false),
       ('outbound_per_contact_per_day', interval '24 hours', project.outbound_per_contact_per_day, rate.day_began, rate.day_sent, false)
       ) as bound (name, lasts, most, began, sent, is_of_all)
 where bound.most > 0 and bound.sent >= bound.most and now() < bound.began + bound.lasts and bound.is_of_all = (rate.contact = '')
 group by project.id, project.name, bound.name, bound.most
 order by project.name, bound.name
 limit 50
