using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// The host side of a stream of bytes: a descriptor that is read and an output that is written, each watched while its user waits for it.
/// On one reactor's thread.
/// <code>
/// input    Quiet --Watch--> Watched --the host sent--> Ready --Read--> Quiet
///          Ready --end of the stream--> Ended         a file is Ready after each read, until its end
/// output   Open --the host side is full--> Blocked --it has room--> Open
///          Open --a write fails--> Broken
/// </code>
/// </summary>
/// <param name="reactor">The reactor.</param>
/// <param name="input">What is read; null: nothing. It is taken over.</param>
/// <param name="output">Where bytes go; null drops them. It stays the caller's.</param>
internal sealed class HostStream(IReactor reactor, OwnedFd? input, ISerialOutput? output) : IDisposable
{
    private Subscription<OwnedFd>? _readable;
    private WritableWatch? _writable;
    private InputState _input = input is null ? InputState.Ended : InputState.Quiet;
    private OutputState _output;

    private enum InputState
    {
        Quiet,
        /// <summary>The reactor reports when there is something to read.</summary>
        Watched,
        /// <summary>One read is due. It may block if it is made twice.</summary>
        Ready,
        /// <summary>The host side ended or failed: it is not read any more.</summary>
        Ended,
    }

    private enum OutputState
    {
        Open,
        /// <summary>The reactor reports when the host side has room.</summary>
        Blocked,
        /// <summary>A write failed: the host side is not written to any more.</summary>
        Broken,
    }

    /// <summary>Called when there is something to read.</summary>
    internal required Action OnInput { get; init; }

    /// <summary>Called when the input ended, once; after an error with that.</summary>
    internal required Action<Errno> OnInputEnd { get; init; }

    /// <summary>Called when an output that took no more has room.</summary>
    internal required Action OnRoom { get; init; }

    /// <summary>Called when a write failed, once.</summary>
    internal required Action<Errno> OnOutputBroken { get; init; }

    /// <summary>Whether a read is due.</summary>
    internal bool IsReady => _input == InputState.Ready;

    /// <summary>Whether the output takes nothing before <see cref="OnRoom"/>.</summary>
    internal bool IsBlocked => _output == OutputState.Blocked;

    /// <summary>Whether bytes may go somewhere: there is an output, and it did not fail.</summary>
    internal bool HasOutput => output is not null && _output != OutputState.Broken;

    internal bool IsBroken => _output == OutputState.Broken;

    /// <summary>Has <see cref="OnInput"/> called when there is something to read. A file is <see cref="IsReady"/> at once.</summary>
    internal void Watch()
    {
        if (_input != InputState.Quiet) return;
        _input = InputState.Watched;
        if (_readable is not null)
        {
            reactor.Modify(_readable, Interest.Readable.OneShot);
            return;
        }
        // One-shot: while its user has no room nothing at all is reported, not even a hang-up, which would come back for ever.
        _readable = Interest.Readable.OneShot.WithFd(input!).WithHandler(_ =>
        {
            _input = InputState.Ready;
            OnInput();
        });
        try
        {
            reactor.Add(_readable);
        }
        catch (KernelException refused) when (refused.Errno == Errno.NotPermitted)
        {
            // A file can't be polled because it never makes anyone wait.
            _readable = null;
            _input = InputState.Ready;
        }
    }

    /// <summary>Reads, if a read is due.</summary>
    /// <returns>Bytes read; 0 if there are none now, or no more at all.</returns>
    internal int Read(Span<byte> bytes)
    {
        if (_input != InputState.Ready || bytes.IsEmpty) return 0;
        if (_readable is not null) _input = InputState.Quiet;
        Errno errno = StreamCalls.Read(input!.Number, bytes, out int length);
        if (length > 0 || errno is Errno.Again or Errno.Interrupted) return length;
        CloseInput();
        // A terminal whose far end is gone says EIO where a pipe says end of file.
        OnInputEnd(errno == Errno.InputOutput ? Errno.None : errno);
        return 0;
    }

    /// <summary>Writes what the output takes now. One that failed or is not there takes and drops everything.</summary>
    /// <returns>False if it takes no more before <see cref="OnRoom"/>.</returns>
    internal bool TryWrite(ReadOnlySpan<byte> bytes, out int written)
    {
        written = IsBlocked ? 0 : bytes.Length;
        if (IsBlocked || !HasOutput) return !IsBlocked;
        Errno errno = output!.Write(bytes, out written);
        if (errno is Errno.None or Errno.Interrupted) return true;
        if (errno == Errno.Again)
        {
            _output = OutputState.Blocked;
            _writable ??= new WritableWatch(output.Ready!, reactor, () =>
            {
                _output = OutputState.Open;
                OnRoom();
            });
            _writable.Await();
            return false;
        }
        _output = OutputState.Broken;
        OnOutputBroken(errno);
        return true;
    }

    /// <summary>Closes the input, and watches nothing any more.</summary>
    public void Dispose()
    {
        CloseInput();
        _writable?.Dispose();
    }

    private void CloseInput()
    {
        _input = InputState.Ended;
        if (_readable is null || !reactor.Remove(_readable)) input?.Dispose();
        _readable = null;
    }
}
