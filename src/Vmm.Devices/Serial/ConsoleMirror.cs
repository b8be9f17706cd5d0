namespace Vmm.Devices;

/// <summary>
/// A guest's console for more readers and writers than its own endpoint: it keeps what the guest printed last, shows it to viewers, and
/// takes what they type. It never makes the guest wait: a viewer that falls behind is cut off.
/// </summary>
/// <remarks>Thread-safe. What the guest prints is copied once, however many viewers there are.</remarks>
internal sealed class ConsoleMirror
{
    /// <summary>Bytes of output that are kept: a viewer that is further behind is cut off. 256 KiB.</summary>
    internal const int KeptBytes = 256 * 1024;

    /// <summary>Most bytes that a viewer is shown of what was printed before it came. 64 KiB.</summary>
    internal const int ReplayBytesMax = 64 * 1024;

    /// <summary>Most typed bytes that wait for the guest; also the most of one call. 4 KiB.</summary>
    internal const int TypedBytesMax = 4096;

    private readonly Lock _lock = new();
    private readonly byte[] _kept = new byte[KeptBytes];
    private readonly CircularBytes _typed = new(TypedBytesMax);
    private long _printed;
    private bool _takesInput = true;
    private bool _ended;
    private Action? _onTyped;
    private TaskCompletionSource? _news;
    private TaskCompletionSource? _room;

    /// <summary>Whether the guest can still be typed at: not if its line was hung up, or ends behind commands that were given.</summary>
    internal bool TakesInput
    {
        get { lock (_lock) return _takesInput; }
    }

    /// <summary>Shows it to one more viewer: first the last lines that were printed, at most <see cref="ReplayBytesMax"/>, then what
    /// comes.</summary>
    internal ConsoleView Open()
    {
        lock (_lock)
        {
            long start = Math.Max(_printed - ReplayBytesMax, 0);
            // Not in the middle of a line, whose first half may have been a colour or half of a character.
            for (long at = start; start > 0 && at < _printed; at++)
            {
                if (_kept[at % KeptBytes] != (byte)'\n') continue;
                start = at + 1;
                break;
            }
            return new ConsoleView(this, start);
        }
    }

    /// <summary>Types at the guest. Several may; the bytes of one call stay together.</summary>
    /// <param name="bytes">At most <see cref="TypedBytesMax"/>.</param>
    /// <param name="cancel">Gives it up; none of the bytes reaches the guest then.</param>
    /// <returns>Completes when there was room for them: a guest that reads nothing has its writers wait.</returns>
    /// <exception cref="ArgumentException">There are more bytes than that.</exception>
    /// <exception cref="InvalidOperationException">The console takes no input.</exception>
    internal async Task TypeAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancel = default)
    {
        if (bytes.Length > TypedBytesMax)
            throw new ArgumentException($"{bytes.Length} bytes typed at once: give at most {TypedBytesMax}", nameof(bytes));
        Action? typed;
        while (!TryType(bytes.Span, out Task room, out typed)) await room.WaitAsync(cancel).ConfigureAwait(false);
        typed?.Invoke();
    }

    /// <summary>Sets what is called, on any thread, when something was typed; null when what reads it is gone for now.</summary>
    internal void Connect(Action? onTyped)
    {
        bool waits;
        lock (_lock)
        {
            _onTyped = onTyped;
            waits = _typed.Count > 0;
        }
        if (waits) onTyped?.Invoke();
    }

    /// <summary>Takes out what was typed.</summary>
    /// <returns>How many bytes; 0 if there are none: then the reader is called when there are.</returns>
    internal int TakeTyped(Span<byte> bytes)
    {
        TaskCompletionSource? room;
        int length;
        lock (_lock)
        {
            length = _typed.Peek(bytes);
            if (length == 0) return 0;
            _typed.Skip(length);
            (room, _room) = (_room, null);
        }
        room?.TrySetResult();
        return length;
    }

    /// <summary>The guest printed something. On the device's reactor.</summary>
    internal void Printed(ReadOnlySpan<byte> bytes)
    {
        if (bytes.IsEmpty) return;
        TaskCompletionSource? news;
        lock (_lock)
        {
            _printed += Math.Max(bytes.Length - KeptBytes, 0);
            if (bytes.Length > KeptBytes) bytes = bytes[^KeptBytes..];
            int at = (int)(_printed % KeptBytes), first = Math.Min(bytes.Length, KeptBytes - at);
            bytes[..first].CopyTo(_kept.AsSpan(at));
            bytes[first..].CopyTo(_kept);
            _printed += bytes.Length;
            (news, _news) = (_news, null);
        }
        news?.TrySetResult();
    }

    /// <summary>The guest reads no more: who types is refused.</summary>
    internal void EndInput()
    {
        TaskCompletionSource? room;
        lock (_lock)
        {
            _takesInput = false;
            (room, _room) = (_room, null);
        }
        room?.TrySetResult();
    }

    /// <summary>The guest prints no more: viewers see the rest, and then the end.</summary>
    internal void End()
    {
        TaskCompletionSource? news;
        lock (_lock)
        {
            _ended = true;
            (news, _news) = (_news, null);
        }
        news?.TrySetResult();
        EndInput();
    }

    /// <summary>Copies what was printed from a position on.</summary>
    /// <param name="at">Moved on.</param>
    /// <param name="bytes">Room for it.</param>
    /// <param name="isBehind">Whether some of it is not kept any more.</param>
    /// <param name="news">Completes when there is more, if nothing was copied; null at the end.</param>
    /// <returns>How many bytes.</returns>
    internal int Read(ref long at, Span<byte> bytes, out bool isBehind, out Task? news)
    {
        lock (_lock)
        {
            long waiting = _printed - at;
            isBehind = waiting > KeptBytes;
            news = null;
            if (isBehind) return 0;
            if (waiting == 0)
            {
                if (!_ended) news = (_news ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
                return 0;
            }
            int start = (int)(at % KeptBytes);
            int length = (int)Math.Min(Math.Min(waiting, bytes.Length), KeptBytes - start);
            _kept.AsSpan(start, length).CopyTo(bytes);
            at += length;
            return length;
        }
    }

    private bool TryType(ReadOnlySpan<byte> bytes, out Task room, out Action? typed)
    {
        lock (_lock)
        {
            if (!_takesInput) throw new InvalidOperationException("this console takes no input any more");
            typed = _onTyped;
            room = Task.CompletedTask;
            if (_typed.Room >= bytes.Length)
            {
                _typed.Write(bytes);
                return true;
            }
            room = (_room ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
            return false;
        }
    }
}
