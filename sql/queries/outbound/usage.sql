-- A project's ($1) usage of its limits in the current windows, and that of a contact's ($2, or
-- null) limits.
select bound.name as "limit!: _", bound.most as "most!",
       case when now() < bound.began + bound.lasts then bound.sent else 0 end as "sent!",
       case when now() < bound.began + bound.lasts then bound.began + bound.lasts end as resets_at
  from project
  left join outbound_rate_window of_all on of_all.project_id = project.id and of_all.contact = ''
  left join outbound_rate_window of_one on of_one.project_id = project.id and of_one.contact = $2
 cross join lateral (values
       ('outbound_per_project_per_minute', interval '1 minute', project.outbound_per_project_per_minute, of_all.short_began, of_all.short_sent),
       ('outbound_per_project_per_day', interval '24 hours', project.outbound_per_project_per_day, of_all.day_began, of_all.day_sent),
       ('outbound_per_contact_per_hour', interval '1 hour', project.outbound_per_contact_per_hour, of_one.short_began, of_one.short_sent),
       ('outbound_per_contact_per_day', interval '24 hours', project.outbound_per_contact_per_day, of_one.day_began, of_one.day_sent)
       ) as bound (name, lasts, most, began, sent)
 where project.id = $1 and ($2::text is not null or bound.name like '%per_project%')
