using System.Globalization;
using System.Text;
using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Devices;

/// <summary>
/// A client that controls a balloon by lines, as a task of the reactor. Each line is answered before the next is read.
/// </summary>
internal sealed class BalloonControlSession
{
    /// <summary>Longest line: no command is a third of it.</summary>
    internal const int LineBytesMax = 64;

    /// <summary>How long the guest has for its statistics; one without a driver never reports them.</summary>
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private const ulong MebibytesMax = BalloonDevice.TargetBytesMax >> 20;

    private readonly BalloonDevice _balloon;
    private readonly IReactor _reactor;
    private readonly Subscription<UnixSocket> _client;
    private readonly TaskSignal _readable = new();
    private readonly byte[] _line = new byte[LineBytesMax];
    private int _length;

    internal BalloonControlSession(BalloonDevice balloon, UnixSocket peer, IReactor reactor)
    {
        _balloon = balloon;
        _reactor = reactor;
        _client = Interest.Readable.EdgeTriggered.WithFd(peer).WithHandler(_ => _readable.Set()).RegisterInto(reactor);
    }

    /// <summary>Serves the client until it hangs up, or the task is aborted; then hangs up.</summary>
    internal async ReactorTask Run(Action<BalloonControlSession> onEnded)
    {
        try
        {
            while (await ReadLine() is { } command)
            {
                string[] words = command.Split((char[])[' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
                if (!TrySay(words is ["stats"] ? await AskGuest() : Obey(command, words))) break;
            }
        }
        finally
        {
            if (_client.IsRegistered) _reactor.Remove(_client);
            onEnded(this);
        }
    }

    /// <summary>The next line; null if the client has hung up, or breaks the rules.</summary>
    private async ReactorTask<string?> ReadLine()
    {
        int end;
        while ((end = Array.IndexOf(_line, (byte)'\n', 0, _length)) < 0)
        {
            if (_length == LineBytesMax)
            {
                TrySay($"error this line is longer than {LineBytesMax} bytes: try 'help'");
                return null;
            }
            Errno errno = StreamCalls.Read(_client.Fd.Number, _line.AsSpan(_length), out int length);
            _length += length;
            if (errno is Errno.Again or Errno.Interrupted) await _readable;
            else if (errno != Errno.None || length == 0) return null;
            else await ReactorTask.Yield();
        }
        string command = Encoding.ASCII.GetString(_line, 0, end);
        _length -= end + 1;
        _line.AsSpan(end + 1, _length).CopyTo(_line);
        return command;
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

    private async ReactorTask<string> AskGuest()
    {
        StringBuilder answer = new();
        try
        {
            foreach ((BalloonStatistic statistic, ulong value) in await ReadStatistics().WithTimeout(Patience))
            {
                if (NameOf(statistic) is { } name) answer.Append(CultureInfo.InvariantCulture, $" {name}={value}");
            }
        }
        catch (TimeoutException)
        {
            answer.Append(" guest=silent");
        }
        return Amounts() + answer;
    }

    private async ReactorTask<IReadOnlyDictionary<BalloonStatistic, ulong>> ReadStatistics()
    {
        using CancellationTokenSource asking = new();
        try
        {
            return await _balloon.ReadStatisticsAsync(asking.Token).ComeHome();
        }
        finally
        {
            asking.Cancel();
        }
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
        return _client.Fd.Send(bytes, [], out _) == bytes.Length;
    }
}
