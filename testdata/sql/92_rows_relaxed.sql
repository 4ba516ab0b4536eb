-- The example rows that check_content_structure refuses: profile relaxed only.
insert into public.chat_messages_v2 (
    id, conversation_id, session_id, role, sender_user_id, sender_agent_id, content, metadata, created_at
)
values
    -- m09, an error reply.
    ('5eed0109-0000-4000-8000-000000000109', '5eed0041-0000-4000-8000-000000000041', '5eed0060-0000-4000-8000-000000000060',
        'assistant', null, '5eed0001-0000-4000-8000-000000000001',
        '{"type": "error", "text": "Sorry, something went wrong. Please try again.", "metadata": {
            "error_type": "chat_processing_error", "temporary_chat": true,
            "temp_session_id": "5eed0030-0000-4000-8000-000000000030"}}',
        default, '2026-03-02T10:03:00Z'),
    -- m12, content that is a bare string.
    ('5eed0112-0000-4000-8000-000000000112', '5eed0041-0000-4000-8000-000000000041', '5eed0060-0000-4000-8000-000000000060',
        'assistant', null, '5eed0001-0000-4000-8000-000000000001',
        '"plain legacy string"',
        default, '2026-03-02T11:01:00Z');
