-- Profile strict, the state since October 2025: one conversation session a conversation, and no message without one.
alter table public.conversation_sessions
    add constraint conversation_sessions_conversation_id_key unique (conversation_id);
alter table public.chat_messages_v2
    add constraint chat_messages_v2_conversation_id_fkey foreign key (conversation_id)
    references public.conversation_sessions (conversation_id) on delete cascade;
