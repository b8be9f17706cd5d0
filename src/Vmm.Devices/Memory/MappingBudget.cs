namespace Vmm.Devices;

/// <summary>
/// How much the front-ends of a process may have mapped together: address space and mappings are the process's, and one front-end must not
/// take them from the others. A front-end may have at most half of what the others leave, so that the next one always finds some.
/// Thread-safe.
/// </summary>
internal sealed class MappingBudget(ulong bytesMax, int mappingsMax = MappingBudget.StandardMappings)
{
    /// <summary>The memory of a guest is rarely beyond a few TiB, and x86-64 has 128 TiB of addresses for a process.</summary>
    internal const ulong StandardBytes = 4UL << 40;

    /// <summary>Half of what the kernel allows a process by default (vm.max_map_count): the runtime needs some too.</summary>
    internal const int StandardMappings = 32768;

    private readonly Lock _lock = new();
    private ulong _bytes;
    private int _mappings;

    /// <summary>What all front-ends have mapped now.</summary>
    internal (ulong Bytes, int Mappings) InUse
    {
        get
        {
            lock (_lock) return (_bytes, _mappings);
        }
    }

    /// <summary>
    /// A new front-end's part of it. The eventfd, which is signalled when memory of the front-end is gone under its mapping, stays open
    /// until the account and its last mapping are gone, whenever its owner disposes it.
    /// </summary>
    internal Account Open(EventFd lost) => new(this, lost);

    /// <summary>
    /// What one front-end has mapped. Thread-safe. Disposed when the front-end maps nothing more; its mappings may outlive that.
    /// </summary>
    internal sealed class Account : IDisposable
    {
        private readonly MappingBudget _budget;
        private ulong _bytes;
        private int _mappings;

        internal Account(MappingBudget budget, EventFd lost)
        {
            _budget = budget;
            Lost = lost;
            // A session may end, and close it, while another thread maps its memory.
            bool isHeld = false;
            lost.DangerousAddRef(ref isHeld);
        }

        /// <summary>Signalled when memory of the front-end is gone under its mapping.</summary>
        internal EventFd Lost { get; }

        public void Dispose() => Lost.DangerousRelease();

        /// <summary>Counts a mapping that is about to be made.</summary>
        /// <returns>A sentence that says why it must not be made; null if it may.</returns>
        internal string? TryCharge(ulong bytes)
        {
            lock (_budget._lock)
            {
                ulong bytesLeft = (_budget.BytesMax - (_budget._bytes - _bytes)) / 2;
                if (bytes > bytesLeft || _bytes > bytesLeft - bytes)
                    return $"{_bytes + bytes} bytes of mapped memory: of the {_budget.BytesMax} of this process the others leave "
                        + $"{bytesLeft} for one front-end";
                int mappingsLeft = (_budget.MappingsMax - (_budget._mappings - _mappings)) / 2;
                if (_mappings >= mappingsLeft) return $"more than the {mappingsLeft} mappings that the others leave for one front-end";
                _budget._bytes += bytes;
                _budget._mappings++;
                _bytes += bytes;
                _mappings++;
                return null;
            }
        }

        /// <summary>Takes back what <see cref="TryCharge"/> counted, once for each.</summary>
        internal void Release(ulong bytes)
        {
            lock (_budget._lock)
            {
                _budget._bytes -= bytes;
                _budget._mappings--;
                _bytes -= bytes;
                _mappings--;
            }
        }
    }

    private ulong BytesMax => bytesMax;

    private int MappingsMax => mappingsMax;
}
