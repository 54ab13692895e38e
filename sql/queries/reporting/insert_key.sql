-- Stores the two pads of the key of contact_key, unless there is one.
insert into reporting_key (is_the_key, inner_pad, outer_pad) values (true, $1, $2)
on conflict on constraint reporting_has_one_key_row do nothing
