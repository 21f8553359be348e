#!/bin/sh
# Redis for LoRAForge: nothing is evicted, a crash loses a second at most, every client has an account.
# /tls with redis.crt and redis.key opens 6380 to nodes elsewhere.
set -eu
umask 077
users=/data/users.acl
{
    # Health checks may ask whether it lives, and nothing else.
    echo 'user default on nopass resetkeys resetchannels -@all +ping'
    echo "user loraforge on >$REDIS_PASSWORD ~* &* +@all -flushall -flushdb -shutdown -debug -config" \
        '-module -replicaof -slaveof -failover -cluster -migrate -restore -monitor -sync -psync'
    # Those of the nodes, which the control plane made.
    if [ -f "$users" ]; then
        grep '^user lf-node-' "$users" || true
    fi
} >"$users.new"
mv "$users.new" "$users"
tls=''
if [ -f /tls/redis.crt ]; then
    tls='--tls-port 6380 --tls-cert-file /tls/redis.crt --tls-key-file /tls/redis.key --tls-auth-clients no'
fi
# shellcheck disable=SC2086 # several words
exec redis-server --dir /data --aclfile "$users" --protected-mode no --appendonly yes --appendfsync everysec \
    --save '' --maxmemory-policy noeviction $tls
