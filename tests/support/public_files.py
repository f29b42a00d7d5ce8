"""Small made-up files with the columns of public data sets, lines of CSV by the name of the built-in mapping."""

from __future__ import annotations

V = ",".join(f'"V{i}"' for i in range(1, 29))
ZEROS = ",".join("0.1" for _ in range(28))
FILES: dict[str, list[str]] = {
    "ulb": [f'"Time",{V},"Amount","Class"', f'0,{ZEROS},149.62,"0"', f'1e+05,{ZEROS},0,"1"'],
    "paysim": [
        "step,type,amount,nameOrig,oldbalanceOrg,newbalanceOrig,nameDest,oldbalanceDest,newbalanceDest,isFraud,isFlaggedFraud",
        "1,PAYMENT,9839.64,C1231006815,170136.0,160296.36,M1979787155,0.0,0.0,0,0",
        "25,TRANSFER,181.0,C1305486145,181.0,0.0,C553264065,0.0,0.0,1,0",
    ],
    "ieee-cis": [
        "TransactionID,isFraud,TransactionDT,TransactionAmt,ProductCD,card1,card2",
        "2987000,0,86400,68.5,W,13926,",
        "2987001,1,86401,29.125,C,2755,404.0",
    ],
    "tabformer": [
        "User,Card,Year,Month,Day,Time,Amount,Use Chip,Merchant Name,Merchant City,Merchant State,Zip,MCC,Errors?,Is Fraud?",
        "0,1,2002,9,1,06:42,$38.48,Online Transaction,-727612092139916043,ONLINE,,,5411,,Yes",
        "0,0,2002,9,1,06:21,$134.09,Swipe Transaction,3527213246127876953,La Verne,CA,91750.0,5300,,No",
        "0,0,2002,9,2,06:22,$-77.00,Swipe Transaction,3527213246127876953,La Verne,CA,91750.0,5300,,No",
    ],
    "ibm-aml": [
        "Timestamp,From Bank,Account,To Bank,Account,Amount Received,Receiving Currency,Amount Paid,Payment Currency,Payment Format,Is Laundering",
        "2022/09/01 00:20,010,8000EBD30,011,8000F5340,3697.34,US Dollar,3697.34,US Dollar,Wire,0",
        "2022/09/01 00:21,010,8000EBD30,012,8000F5341,0.01,Bitcoin,0.01,Bitcoin,Bitcoin,0",
        "2022/09/01 00:10,03208,8000F4580,01,8000F5340,0.5,Yen,1000.00,Yen,Cheque,1",
    ],
}  # fmt: skip
