-- What earlier attempts of the turn $1 kept: each round with its message, and the calls of it that
-- have run, in order.
select model_round.message as "message: _", coalesce(calls.done, '[]') as "calls!: _"
  from model_round
  left join lateral (
       select jsonb_agg(jsonb_build_object('round', tool_call.round, 'position', tool_call.position, 'name', tool_call.name,
                                           'answer', tool_call.answer, 'error', tool_call.error) order by tool_call.position) as done
         from tool_call
        where tool_call.turn_id = model_round.turn_id and tool_call.round = model_round.round) calls on true
 where model_round.turn_id = $1
 order by model_round.round
