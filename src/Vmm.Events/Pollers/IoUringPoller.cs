using System.Diagnostics;
using Vmm.Events.Rings;

namespace Vmm.Events;

/// <summary>
/// Watches with io_uring instead of epoll. An edge-triggered interest is one multishot poll request, which costs nothing more until it
/// ends; a level-triggered or one-shot one is a poll request an event, armed together with the next wait. Submitting and waiting are one
/// call.
/// </summary>
/// <remarks>
/// The ring has one issuer: it is made disabled, and enabled by the thread that first waits; what was added until then is armed there. The
/// completion of a level-triggered request may be older than this wait, and what it says may have been handled since: poll(2) has the last
/// word, one call for all of a batch.
/// </remarks>
internal sealed unsafe class IoUringPoller : IPoller
{
    private const IoUringSetup Setup =
        IoUringSetup.SingleIssuer | IoUringSetup.DeferTaskRun | IoUringSetup.Disabled | IoUringSetup.SubmitAll | IoUringSetup.Clamp;
    private const uint SubmissionsMax = 512;
    /// <summary>A completion that finds no room ends its multishot request, which costs a submission to arm it again.</summary>
    private const uint CompletionsMin = 4096;
    private const uint AddMultishot = 1;
    private const uint CancelAll = 1u << 0;
    private const uint CancelAny = 1u << 2;
    /// <summary>A cancelled poll request ends within one call or a few. The limit is for a kernel that breaks this.</summary>
    private const int EndingMsMax = 10_000;
    private const uint ReadBand = 0x080;
    /// <summary>User data of a cancellation, whose answer is no event.</summary>
    private const ulong NoData = 0;
    /// <summary>
    /// A modified request ends first and is armed anew then, and may complete at once: that still belongs to the same wait.
    /// </summary>
    private const int RoundsMax = 4;

    private readonly SlotTable _slots;
    private readonly IoUringSetup _setup;
    private readonly ReadyEvent* _events;
    private readonly int _eventsMax;
    private readonly uint _completions;
    /// <summary>Level-triggered watches that were reported, to be armed again at the next wait.</summary>
    private readonly ulong[] _fired;
    private int _firedCount;
    /// <summary>For the last word of poll(2): the descriptors, and which event of the batch each one is.</summary>
    private readonly PollFd* _asked;
    private readonly int[] _askedEvent;
    private int _askedCount;
    private readonly int _probe;
    /// <summary>Poll requests whose last completion was not taken yet: each of them holds its open file.</summary>
    private int _inFlight;
    private int _wait;
    private IoUringQueue? _queue;
    private bool _enabled;
    private bool _disposed;

    private IoUringPoller(SlotTable slots, int eventsPerWaitMax, uint completions, IoUringSetup setup, IoUringQueue queue, int probe)
    {
        _slots = slots;
        _setup = setup;
        _eventsMax = eventsPerWaitMax;
        _completions = completions;
        _queue = queue;
        _probe = probe;
        _fired = new ulong[eventsPerWaitMax];
        _askedEvent = new int[eventsPerWaitMax];
        _events = (ReadyEvent*)NativeMemory.AlignedAlloc((nuint)(eventsPerWaitMax * sizeof(ReadyEvent)), 64);
        _asked = (PollFd*)NativeMemory.AlignedAlloc((nuint)(eventsPerWaitMax * sizeof(PollFd)), 64);
    }

    /// <summary>
    /// Makes the poller of a table's slots, with completion entries as it chooses if they are 0. Where waits that do not block are frequent
    /// (<paramref name="isLookedAt"/>) the kernel shows in the ring that it has work for us, which spares the call while it has none.
    /// </summary>
    /// <returns>As <see cref="IoUringQueue.TryCreate"/>.</returns>
    internal static Errno TryCreate(
        SlotTable slots, int eventsPerWaitMax, out IoUringPoller? poller, uint completions = 0, bool isLookedAt = false)
    {
        poller = null;
        IoUringSetup setup = isLookedAt ? Setup | IoUringSetup.TaskRunFlag : Setup;
        if (completions == 0) completions = Math.Max(CompletionsMin, 4 * (uint)eventsPerWaitMax);
        Errno errno = IoUringQueue.TryCreate(Math.Min(SubmissionsMax, completions), completions, setup, out IoUringQueue? queue);
        if (errno != Errno.None) return errno;
        int probe = Libc.EpollCreate(Libc.EPOLL_CLOEXEC);
        if (probe < 0)
        {
            errno = Libc.LastError;
            queue!.Dispose();
            return errno;
        }
        poller = new IoUringPoller(slots, eventsPerWaitMax, completions, setup, queue!, probe);
        return Errno.None;
    }

    public PollerKind Kind => PollerKind.IoRing;

    public Errno Add(int fd, uint bits, ulong data)
    {
        Errno errno = Check(fd, bits);
        if (errno != Errno.None) return errno;
        ref Slot slot = ref ThinPointer.Resolve(data);
        if (slot.Poll != PollState.Idle) return Errno.Exists;
        return _enabled ? Arm(ref slot, fd, bits, data) : Errno.None;
    }

    public Errno Modify(int fd, uint bits, ulong data)
    {
        Errno errno = Check(fd, bits);
        if (errno != Errno.None || !_enabled) return errno;
        ref Slot slot = ref ThinPointer.Resolve(data);
        if (slot.Poll == PollState.Idle) return Arm(ref slot, fd, bits, data);
        return slot.Poll == PollState.Armed ? End(ref slot, data) : Errno.None;
    }

    public Errno Remove(int fd, ulong data)
    {
        ref Slot slot = ref ThinPointer.Resolve(data);
        if (!_enabled || slot.Poll == PollState.Idle) return Errno.None;
        Errno errno = slot.Poll == PollState.Armed ? End(ref slot, data) : Errno.None;
        slot.Poll = PollState.Idle;
        // Now, and not with the next wait: the request holds the open file, and the caller may close its descriptor next.
        return errno == Errno.None ? ReapUntilEnded(data) : errno;
    }

    /// <summary>
    /// Submits, and lets the kernel work until the last completion of a request is in the ring: until then the request holds its file. The
    /// kernel does a bounded amount of its deferred work in one call, so one call is not always enough.
    /// </summary>
    private Errno ReapUntilEnded(ulong data)
    {
        uint looked = 0;
        while (true)
        {
            uint before = _queue!.Available;
            Errno errno = _queue.SubmitAndReap();
            if (errno != Errno.None) return errno;
            // The last completion was taken before, or is one of those that found no room: the file is not held any more.
            if (_queue.HasLastCompletion(data, ref looked) || _queue.HasOverflown || _queue.Available == before) return Errno.None;
        }
    }

    public ReadOnlySpan<ReadyEvent> Wait(int timeoutMs)
    {
        if (!_enabled) Enable();
        ArmFired();
        if (timeoutMs == 0 && !HasWork()) return default;
        _wait++;
        const long NanosecondsPerMillisecond = 1_000_000;
        Check(timeoutMs == 0
            ? _queue!.SubmitAndReap()
            : _queue!.SubmitAndWait(completionsMin: 1, timeoutMs < 0 ? IoUringQueue.Forever : timeoutMs * NanosecondsPerMillisecond));
        int count = TakeCompletions(0);
        for (int round = 0; round < RoundsMax && count < _eventsMax && _queue!.Unsubmitted > 0; round++)
        {
            Check(_queue.SubmitAndReap());
            count = TakeCompletions(count);
        }
        if (_askedCount > 0) count = AskAgain(count);
        return new ReadOnlySpan<ReadyEvent>(_events, count);
    }

    private static void Check(Errno errno)
    {
        // Again, Busy: completions must be taken first, which is what comes next.
        if (errno is not (Errno.None or Errno.Again or Errno.Busy)) throw new KernelException("io_uring_enter", errno);
    }

    /// <summary>Whether a call could bring anything; not known, and so true, where the kernel does not show it.</summary>
    private bool HasWork() =>
        (_setup & IoUringSetup.TaskRunFlag) == 0 || _queue!.HasTaskWork || _queue.Unsubmitted != 0 || _queue.Available != 0
        || _queue.HasOverflown;

    public void Rebuild()
    {
        Errno errno = IoUringQueue.TryCreate(Math.Min(SubmissionsMax, _completions), _completions, _setup, out IoUringQueue? fresh);
        if (errno != Errno.None) throw new KernelException("cannot create a ring", errno);
        Close();
        _queue = fresh;
    }

    public void OwnerLeaves() => Close();

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        Close();
        _ = Libc.Close(_probe);
        // SAFETY: allocated by the constructor, freed once; no wait is running.
        NativeMemory.AlignedFree(_events);
        NativeMemory.AlignedFree(_asked);
    }

    /// <summary>
    /// Ends every request and closes the ring. On the owner's thread, where the registered descriptor can be given back. The requests end
    /// first: the kernel takes a closed ring apart in the background, and the files that its requests hold would stay open until then.
    /// </summary>
    private void Close()
    {
        if (_queue is null) return;
        if (_enabled)
        {
            EndAll(_queue);
            _queue.UnregisterRingFd();
        }
        _queue.Dispose();
        _queue = null;
        _enabled = false;
        _inFlight = 0;
        _firedCount = 0;
        for (int i = 0; i < _slots.Capacity; i++) _slots[i].Poll = PollState.Idle;
    }

    /// <summary>Cancels every request and takes completions until the last one has come.</summary>
    private void EndAll(IoUringQueue queue)
    {
        long deadline = Environment.TickCount64 + EndingMsMax;
        while (_inFlight > 0 && Environment.TickCount64 < deadline)
        {
            // Another thread than the owner is refused: that one has ended, and the kernel takes the ring apart by itself.
            if (MakeRoom() != Errno.None) return;
            queue.Prepare() = new IoUringEntry
            {
                Op = IoUringOp.AsyncCancel,
                Fd = -1,
                OpFlags = CancelAll | CancelAny,
                Flags = IoUringEntryFlags.CqeSkipSuccess,
                UserData = NoData,
            };
            Errno errno = queue.SubmitAndReap();
            if (errno is not (Errno.None or Errno.Again or Errno.Busy)) return;
            while (queue.TryTake(out IoUringCompletion done)) Count(done);
        }
    }

    /// <summary>Takes note of the last completion of a request.</summary>
    private void Count(in IoUringCompletion done)
    {
        if (done.UserData != NoData && (done.Flags & IoUringCompletionFlags.More) == 0) _inFlight--;
    }

    /// <summary>
    /// What epoll_ctl would say. A request would say it too, but only later. A MOD of a set that watches nothing looks at the descriptor
    /// first, and then finds no entry.
    /// </summary>
    private Errno Check(int fd, uint bits)
    {
        if (!Interest.IsExclusiveAllowed(bits)) return Errno.Invalid;
        ReadyEvent nothing = default;
        // SAFETY: the kernel copies one epoll_event from a local.
        Errno errno = Libc.EpollCtl(_probe, Libc.EPOLL_CTL_MOD, fd, &nothing);
        Debug.Assert(errno != Errno.None, "the probing set watches something");
        return errno == Errno.NoEntry ? Errno.None : errno;
    }

    /// <summary>The calling thread becomes the ring's issuer. Arms what was added before.</summary>
    private void Enable()
    {
        if (_queue is null) throw new InvalidOperationException("the ring was closed when its owner left");
        Errno errno = _queue.Enable();
        if (errno != Errno.None) throw new KernelException("cannot enable the ring", errno);
        // Refused when the thread has too many rings: the number serves as well.
        _ = _queue.RegisterRingFd();
        _enabled = true;
        for (int i = 0; i < _slots.Capacity; i++)
        {
            ref Slot slot = ref _slots[i];
            if (slot.Fd != SlotTable.Retired && slot.Bits != Reactor.DisarmedBit) ArmOrThrow(ref slot, ThinPointer.To(ref slot));
        }
    }

    private void ArmFired()
    {
        for (int i = 0; i < _firedCount; i++)
        {
            ref Slot slot = ref ThinPointer.Resolve(_fired[i]);
            // Removed or modified by its handler: gone, or armed already.
            if (slot.Generation == ThinPointer.GenerationOf(_fired[i]) && slot.Poll == PollState.Idle) ArmOrThrow(ref slot, _fired[i]);
        }
        _firedCount = 0;
    }

    private void ArmOrThrow(ref Slot slot, ulong data)
    {
        Errno errno = Arm(ref slot, slot.Fd, slot.Bits, data);
        if (errno != Errno.None) throw new KernelException("cannot submit a poll request", errno);
    }

    private Errno Arm(ref Slot slot, int fd, uint bits, ulong data)
    {
        Errno errno = MakeRoom();
        if (errno != Errno.None) return errno;
        _queue!.Prepare() = new IoUringEntry
        {
            Op = IoUringOp.PollAdd,
            Fd = fd,
            OpFlags = RequestBits(bits),
            Length = IsMultishot(bits) ? AddMultishot : 0,
            UserData = data,
        };
        slot.Poll = PollState.Armed;
        _inFlight++;
        return Errno.None;
    }

    /// <summary>Has the kernel end a request, whatever it is doing. Its last completion says so.</summary>
    private Errno End(ref Slot slot, ulong data)
    {
        Errno errno = MakeRoom();
        if (errno != Errno.None) return errno;
        _queue!.Prepare() = new IoUringEntry
        {
            Op = IoUringOp.AsyncCancel,
            Fd = -1,
            Address = data,
            Flags = IoUringEntryFlags.CqeSkipSuccess,
            UserData = NoData,
        };
        slot.Poll = PollState.Ending;
        return Errno.None;
    }

    private Errno MakeRoom()
    {
        if (_queue!.HasRoom) return Errno.None;
        Errno errno = _queue.Submit();
        return errno != Errno.None || _queue.HasRoom ? errno : Errno.NoMemory;
    }

    /// <summary>Turns completions into events behind those of the batch, until none is left or the batch is full.</summary>
    /// <returns>Events in the batch then.</returns>
    private int TakeCompletions(int count)
    {
        IoUringQueue queue = _queue!;
        while (count < _eventsMax && queue.TryTake(out IoUringCompletion done))
        {
            Count(done);
            ref Slot slot = ref ThinPointer.Resolve(done.UserData);
            // Removed since; or the answer to a cancellation, whose data resolves to nothing.
            if (done.UserData == NoData || slot.Generation != ThinPointer.GenerationOf(done.UserData)) continue;
            uint ready = slot.Poll == PollState.Armed && done.Result > 0 ? (uint)done.Result & (slot.Bits | Interest.AlwaysMask) : 0;
            bool goesOn = (done.Flags & IoUringCompletionFlags.More) != 0;
            if (ready == 0)
            {
                if (!goesOn) Ended(ref slot, done);
                continue;
            }
            if (slot.SeenInWait != _wait)
            {
                slot.SeenInWait = _wait;
                slot.SeenAt = count;
                // SAFETY: count is below the length of the batch.
                _events[count] = new ReadyEvent { Events = ready, Data = done.UserData };
                if (NeedsLastWord(slot.Bits)) AskLater(ref slot, count);
                count++;
            }
            else
            {
                // A second edge before the first was reported.
                _events[slot.SeenAt].Events |= ready;
            }
            if (!goesOn) Fired(ref slot, done.UserData);
        }
        return count;
    }

    /// <summary>A request ended with an event.</summary>
    private void Fired(ref Slot slot, ulong data)
    {
        slot.Poll = PollState.Idle;
        // A multishot request ends when its completion finds no room in the ring. Armed again before the handler runs: no edge is lost,
        // one may come twice.
        if (IsMultishot(slot.Bits)) ArmOrThrow(ref slot, data);
    }

    private void AskLater(ref Slot slot, int index)
    {
        // SAFETY: at most one for each event of the batch, for which there is room.
        _asked[_askedCount] = new PollFd { Fd = slot.Fd, Events = (short)(slot.Bits & Interest.PollMask) };
        _askedEvent[_askedCount++] = index;
    }

    /// <summary>
    /// A request ended with nothing to report: because its interest changed, or its readiness is not of interest any more.
    /// </summary>
    private void Ended(ref Slot slot, in IoUringCompletion done)
    {
        slot.Poll = PollState.Idle;
        // Closed behind the reactor's back before it was armed: silent, as it would be in an epoll set.
        if ((Errno)(-done.Result) == Errno.BadDescriptor || slot.Bits == Reactor.DisarmedBit) return;
        ArmOrThrow(ref slot, done.UserData);
    }

    /// <summary>Drops events that are no longer true, and corrects the others.</summary>
    private int AskAgain(int count)
    {
        // SAFETY: the kernel reads and writes _askedCount entries of an array that has room for a whole batch.
        while (Libc.Poll(_asked, (nuint)_askedCount, 0) < 0)
        {
            if (Libc.LastError != Errno.Interrupted) throw new KernelException("poll", Libc.LastError);
        }
        bool anyDropped = false;
        for (int i = 0; i < _askedCount; i++)
        {
            ref ReadyEvent ready = ref _events[_askedEvent[i]];
            ref Slot slot = ref ThinPointer.Resolve(ready.Data);
            bool isClosed = (_asked[i].Ready & PollFd.Invalid) != 0;
            ready.Events = isClosed ? 0u : (ushort)_asked[i].Ready;
            anyDropped |= ready.Events == 0;
            if (isClosed || slot.Poll != PollState.Idle) continue;
            if (ready.Events == 0) ArmOrThrow(ref slot, ready.Data);
            else if ((slot.Bits & Interest.OneShotMask) == 0) _fired[_firedCount++] = ready.Data;
        }
        _askedCount = 0;
        return anyDropped ? DropEmpty(count) : count;
    }

    private int DropEmpty(int count)
    {
        int kept = 0;
        for (int i = 0; i < count; i++)
        {
            if (_events[i].Events != 0) _events[kept++] = _events[i];
        }
        return kept;
    }

    /// <summary>
    /// A poll request that asks for priority is not woken by priority alone, but sockets wake for it with the band of it as well, which
    /// none of them reports as ready.
    /// </summary>
    private static uint RequestBits(uint bits) =>
        (bits & Interest.PollMask) | ((bits & Interest.PriorityMask) != 0 ? ReadBand : 0);

    /// <summary>Level-triggered events hold now or not at all. Sockets wake with priority for ordinary data too.</summary>
    private static bool NeedsLastWord(uint bits) => (bits & Interest.EdgeMask) == 0 || (bits & Interest.PriorityMask) != 0;

    private static bool IsMultishot(uint bits) => (bits & (Interest.EdgeMask | Interest.OneShotMask)) == Interest.EdgeMask;
}
