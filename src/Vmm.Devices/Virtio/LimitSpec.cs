using System.Globalization;

namespace Vmm.Devices;

/// <summary>How much a device may do a second, as it is described: <c>limit=iops=N,bytes=N,burst=SECONDS,group=NAME</c>.</summary>
public sealed record LimitSpec
{
    /// <summary>What a device's syntax says of it.</summary>
    internal const string Syntax = "[,limit=iops=N][,limit=bytes=SIZE][,burst=SECONDS][,group=NAME]";

    private const int OperationsMax = 1_000_000_000;
    private const long BytesMax = 1L << 40;
    private const double BurstSecondsMax = 3600;

    private static readonly Dictionary<string, RateLimit> Groups = [];

    /// <summary>The keys of a text that are its own.</summary>
    internal static readonly string[] Keys = ["iops", "bytes", "burst", "group"];

    /// <summary>Operations a second; 0 for no limit.</summary>
    public long Operations { get; set; }

    /// <summary>Bytes a second; 0 for no limit.</summary>
    public long Bytes { get; set; }

    /// <summary>How much of its rate is saved up while it is not used; null for <see cref="RateLimit.BurstStandard"/>.</summary>
    public TimeSpan? Burst { get; set; }

    /// <summary>The devices of this process that name the same group share one limit; null for a limit of the device's own.</summary>
    public string? Group { get; set; }

    /// <summary>The limit that devices of a group share; null while none was opened. To change it while they run.</summary>
    public static RateLimit? OfGroup(string group)
    {
        lock (Groups) return Groups.GetValueOrDefault(group);
    }

    /// <summary>What is wrong with it, each in a sentence.</summary>
    internal IEnumerable<string> Failures(string name)
    {
        if (Operations is < 0 or > OperationsMax)
            yield return $"'{name}' may do {Operations} operations a second: give 1 to {OperationsMax}, or 0 for no limit";
        if (Bytes is < 0 or > BytesMax) yield return $"'{name}' may move {Bytes} bytes a second: give 1 to {BytesMax}, or 0 for no limit";
        if (Burst is { } burst && (burst < TimeSpan.Zero || burst.TotalSeconds > BurstSecondsMax))
            yield return $"'{name}' saves up {burst} of its rate: give 0 to {BurstSecondsMax} seconds";
        if (Group is "") yield return $"'{name}' is in a group without a name: name it, or leave it out";
        if (Operations == 0 && Bytes == 0 && Group is null)
            yield return $"'{name}' has a limit of nothing: give it iops=N, bytes=N or group=NAME";
        if (Group is { } group && IsSet && OfGroup(group) is { } limit && (limit.OperationsPerSecond != 0 || limit.BytesPerSecond != 0)
            && !IsSame(limit))
            yield return $"'{name}' is in group '{group}', which has another limit: give it to one device of the group, and the "
                + "others the group alone";
    }

    private bool IsSet => Operations != 0 || Bytes != 0;

    /// <summary>Reads what a text says of it; null if it says nothing.</summary>
    /// <exception cref="DeviceSpecException">It makes no sense.</exception>
    internal static LimitSpec? Parse(SpecText text)
    {
        if (!Array.Exists(Keys, key => text.Value(key) is not null)) return null;
        TimeSpan? burst = null;
        if (text.Value("burst") is { } seconds)
        {
            burst = double.TryParse(seconds, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value)
                && value <= BurstSecondsMax
                ? TimeSpan.FromSeconds(value)
                : throw text.Refused($"'burst={seconds}': give seconds from 0 to {BurstSecondsMax}, such as 0.5");
        }
        LimitSpec limit = new()
        {
            Operations = text.Number("iops", 1, OperationsMax) ?? 0,
            Bytes = text.Size("bytes", BytesMax) ?? 0,
            Burst = burst,
            Group = text.Value("group"),
        };
        return limit.IsSet || limit.Group is not null ? limit : throw text.Refused("'burst' is for a limit: give 'limit=iops=N' or "
            + "'limit=bytes=N' too");
    }

    /// <summary>The limit: the device's own, or that of its group.</summary>
    internal RateLimit Open()
    {
        if (Group is null) return new RateLimit(Operations, Bytes, Burst);
        lock (Groups)
        {
            if (!Groups.TryGetValue(Group, out RateLimit? limit)) Groups[Group] = limit = new RateLimit();
            if (IsSet && !IsSame(limit)) limit.Change(Operations, Bytes, Burst);
            return limit;
        }
    }

    private bool IsSame(RateLimit limit) =>
        limit.OperationsPerSecond == Operations && limit.BytesPerSecond == Bytes && limit.Burst == (Burst ?? RateLimit.BurstStandard);
}
