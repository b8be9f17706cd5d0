using System.Globalization;
using System.Text;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A client that controls a balloon by lines. Each is answered before the next is read. On the reactor.</summary>
internal sealed class BalloonControlSession : IDisposable
{
    /// <summary>Longest line: no command is a third of it.</summary>
    internal const int LineBytesMax = 64;

    /// <summary>How long the guest has for its statistics; one without a driver never reports them.</summary>
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private const ulong MebibytesMax = BalloonDevice.TargetBytesMax >> 20;

    private readonly BalloonDevice _balloon;
    private readonly IReactor _reactor;
    private readonly Action<BalloonControlSession> _onEnded;
    private readonly Subscription<UnixSocket> _readable;
    private readonly Doorbell _answered;
    private readonly ReactorTimer _patience;
    private readonly byte[] _line = new byte[LineBytesMax];
    private int _length;
    private CancellationTokenSource? _asking;
    private IReadOnlyDictionary<BalloonStatistic, ulong>? _reported;
    private volatile bool _isOver;

    internal BalloonControlSession(
        BalloonDevice balloon, UnixSocket peer, IReactor reactor, RemoteEndpoint remote, Action<BalloonControlSession> onEnded)
    {
        _balloon = balloon;
        _reactor = reactor;
        _onEnded = onEnded;
        _answered = remote.CreateDoorbell(_ => PrintStatistics());
        _patience = ReactorTimers.Of(reactor).Create((_, _) => _asking?.Cancel(), "a balloon's control");
        _readable = Interest.Readable.OneShot.WithFd(peer).WithHandler(_ => Read());
        reactor.Add(_readable);
    }

    /// <summary>Hangs up.</summary>
    public void Dispose()
    {
        if (_isOver) return;
        _isOver = true;
        _patience.Cancel();
        _asking?.Cancel();
        _asking?.Dispose();
        _reactor.Remove(_readable);
    }

    private void Read()
    {
        Errno errno = StreamCalls.Read(_readable.Fd.Number, _line.AsSpan(_length), out int length);
        _length += length;
        if (errno is not (Errno.None or Errno.Again or Errno.Interrupted) || (errno == Errno.None && length == 0)) HangUp();
        else Serve();
    }

    /// <summary>Answers the lines that are whole, until one has to wait for the guest.</summary>
    private void Serve()
    {
        while (_asking is null && Array.IndexOf(_line, (byte)'\n', 0, _length) is >= 0 and int end)
        {
            string command = Encoding.ASCII.GetString(_line, 0, end);
            _length -= end + 1;
            _line.AsSpan(end + 1, _length).CopyTo(_line);
            string[] words = command.Split((char[])[' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
            if (words is ["stats"]) AskGuest();
            else if (!TrySay(Obey(command, words))) return;
        }
        if (_asking is not null) return;
        if (_length < LineBytesMax)
        {
            _reactor.Modify(_readable, Interest.Readable.OneShot);
            return;
        }
        if (TrySay($"error this line is longer than {LineBytesMax} bytes: try 'help'")) HangUp();
    }

    private string Obey(string command, string[] words)
    {
        switch (words)
        {
            case ["target", string amount]:
                if (!ulong.TryParse(amount, NumberStyles.None, CultureInfo.InvariantCulture, out ulong mebibytes)
                    || mebibytes > MebibytesMax)
                    return $"error target {amount}: give a whole number of MiB from 0 to {MebibytesMax}";
                if (_balloon.MemoryBytes is > 0 and var memory && mebibytes > memory >> 20)
                    return $"error target {amount}: the machine has {memory >> 20} MiB in all";
                _balloon.TargetBytes = mebibytes << 20;
                return Amounts();
            case ["target"]:
                return Amounts();
            case ["help"]:
                return "ok target [MIB] | stats | help";
            default:
                return $"error unknown command '{command.Trim()}': try 'help'";
        }
    }

    /// <summary>What the host asked for, what the guest gave, what went back. By the names that the closing statistics have.</summary>
    private string Amounts() => string.Create(CultureInfo.InvariantCulture,
        $"ok target_bytes={_balloon.TargetBytes} actual_bytes={_balloon.ActualBytes} returned_bytes={_balloon.ReturnedBytes}");

    private void AskGuest()
    {
        _asking = new CancellationTokenSource();
        _patience.Arm(Patience);
        _ = AskAsync(_asking.Token);
    }

    private async Task AskAsync(CancellationToken cancellation)
    {
        try
        {
            _reported = await _balloon.ReadStatisticsAsync(cancellation);
        }
        catch (OperationCanceledException)
        {
            _reported = null;
        }
        if (!_isOver) _answered.TryRing();
    }

    private void PrintStatistics()
    {
        if (_isOver) return;
        _patience.Cancel();
        _asking!.Dispose();
        _asking = null;
        StringBuilder answer = new(Amounts());
        foreach ((BalloonStatistic statistic, ulong value) in _reported ?? new Dictionary<BalloonStatistic, ulong>())
        {
            if (NameOf(statistic) is { } name) answer.Append(CultureInfo.InvariantCulture, $" {name}={value}");
        }
        if (_reported is null) answer.Append(" guest=silent");
        if (TrySay(answer.ToString())) Serve();
    }

    /// <summary>As a name of the closing statistics: <c>free_bytes</c>. Null for what no version of the specification has.</summary>
    private static string? NameOf(BalloonStatistic statistic) => Enum.IsDefined(statistic)
        ? string.Concat(statistic.ToString()
            .Select((c, i) => char.IsUpper(c) ? (i > 0 ? "_" : "") + char.ToLowerInvariant(c) : c.ToString()))
        : null;

    /// <summary>Says a line.</summary>
    /// <returns>False if that was the end: nothing is kept for a client that asks and does not read.</returns>
    private bool TrySay(string line)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(line + "\n");
        if (_readable.Fd.Send(bytes, [], out _) == bytes.Length) return true;
        HangUp();
        return false;
    }

    private void HangUp()
    {
        Dispose();
        _onEnded(this);
    }
}
